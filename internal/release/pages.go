package release

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// Completions are the scripts that complete root's commands in four shells.
func Completions(root *cobra.Command) ([]File, error) {
	name := root.Name()
	var files []File
	for _, shell := range []struct {
		file  string
		write func(io.Writer) error
	}{
		{name + ".bash", func(w io.Writer) error { return root.GenBashCompletionV2(w, true) }},
		{"_" + name, root.GenZshCompletion},
		{name + ".fish", func(w io.Writer) error { return root.GenFishCompletion(w, true) }},
		{name + ".ps1", root.GenPowerShellCompletionWithDesc},
	} {
		var b bytes.Buffer
		if err := shell.write(&b); err != nil {
			return nil, fmt.Errorf("completion %s: %w", shell.file, err)
		}
		files = append(files, File{Name: "completions/" + shell.file, Mode: 0o644, Data: b.Bytes()})
	}
	return files, nil
}

// Manual gives a page of section 1 for root and each command below it, hidden ones excepted.
func Manual(root *cobra.Command, r Release) ([]File, error) {
	var files []File
	var walk func(c *cobra.Command) error
	walk = func(c *cobra.Command) error {
		at := r.Time.UTC()
		title := strings.ReplaceAll(c.CommandPath(), " ", "-")
		c.DisableAutoGenTag = true // it would say the day of the build
		var b bytes.Buffer
		err := doc.GenMan(c, &doc.GenManHeader{Title: strings.ToUpper(title), Section: "1", Date: &at, Source: "Sluice " + r.Version, Manual: "Sluice"}, &b)
		if err != nil {
			return fmt.Errorf("manual of %s: %w", c.CommandPath(), err)
		}
		files = append(files, File{Name: "man/man1/" + title + ".1", Mode: 0o644, Data: b.Bytes()})
		for _, sub := range c.Commands() {
			if !sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand() {
				continue
			}
			if err := walk(sub); err != nil {
				return err
			}
		}
		return nil
	}
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	return files, walk(root)
}
