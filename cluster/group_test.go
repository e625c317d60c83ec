package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestAPartThatEndsByItselfIsAFailure(t *testing.T) {
	for _, end := range []error{nil, errors.New("broken")} {
		failed := make(chan error, 1)
		g := newGroup(failed)
		g.start("scheduler", func(context.Context) error { return end })
		err := <-failed
		if !strings.HasPrefix(err.Error(), "scheduler: ") || (end != nil && !errors.Is(err, end)) {
			t.Errorf("got %v", err)
		}
		g.stop(time.Second)
	}
}

func TestAPartThatEndsWhenStoppedIsNoFailure(t *testing.T) {
	failed := make(chan error, 1)
	g := newGroup(failed)
	g.start("scheduler", func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	g.stop(time.Minute)
	select {
	case err := <-failed:
		t.Error(err)
	default:
	}
}

func TestStopDoesNotWaitForeverForAPart(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	g := newGroup(make(chan error, 1))
	g.start("deaf", func(context.Context) error {
		<-release
		return nil
	})
	g.stop(time.Millisecond) // the test's own deadline is the judge
}

func TestTheEndOfStandardInputStops(t *testing.T) {
	select {
	case <-untilEOF(t.Context(), strings.NewReader("noise")).Done():
	case <-time.After(10 * time.Second):
		t.Fatal("still running")
	}
}

func TestOneFolderServesOneControlPlane(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(dir); err == nil || !strings.Contains(err.Error(), "in use by another") {
		t.Errorf("got %v", err)
	}
	unlock()
	unlock, err = lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
