package event

import (
	"fmt"
	"strings"
	"time"
)

// Style is how glyphs and colours are written. The zero Style is Unicode without colour.
type Style struct {
	ASCII  bool // SLUICE_ASCII=1
	Colour bool // never the only carrier of a meaning
}

// StyleFor reads NO_COLOR and SLUICE_ASCII through env; colour is used only on a terminal.
func StyleFor(env func(string) string, terminal bool) Style {
	return Style{
		ASCII:  env("SLUICE_ASCII") == "1",
		Colour: terminal && env("NO_COLOR") == "" && env("TERM") != "dumb",
	}
}

var spinner = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

const asciiSpinner = `|/-\`

func (s Style) tick() string  { return s.glyph("✓", "ok", "32") }
func (s Style) cross() string { return s.glyph("✗", "x", "31") }
func (s Style) warn() string  { return s.glyph("⚠", "!", "33") }
func (s Style) dot() string   { return s.glyph("•", "*", "2") }

func (s Style) spin(frame int) string {
	if s.ASCII {
		return string(asciiSpinner[frame%len(asciiSpinner)])
	}
	return s.paint(string(spinner[frame%len(spinner)]), "36")
}

func (s Style) glyph(unicode, ascii, colour string) string {
	if s.ASCII {
		return ascii
	}
	return s.paint(unicode, colour)
}

func (s Style) paint(text, code string) string {
	if !s.Colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s Style) dim(text string) string { return s.paint(text, "2") }

// Cross gives the glyph that every printed failure starts with, then a space.
func (s Style) Cross() string { return s.cross() + " " }

// Seconds writes a duration as progress lines show it: tenths below a minute, whole seconds above.
func Seconds(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	d = d.Round(time.Second)
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}

// final is the line that stays when a step has ended, or an info or warning; empty for other phases.
func (s Style) final(e Event) string {
	detail := ""
	if e.Detail != "" {
		detail = s.dim("  " + oneLine(e.Detail))
	}
	switch e.Phase {
	case Done:
		return fmt.Sprintf("%s %s%s %s", s.tick(), e.Text, detail, s.dim("("+Seconds(e.Duration)+")"))
	case Failed:
		return fmt.Sprintf("%s %s %s", s.cross(), e.Text, s.dim("("+Seconds(e.Duration)+")"))
	case Info:
		return s.dot() + " " + e.Text
	case Warn:
		return s.warn() + " " + e.Text
	}
	return ""
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
