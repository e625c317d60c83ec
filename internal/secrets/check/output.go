package check

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Formats lists what Write takes, in the order in which help names them.
var Formats = []string{"text", "json", "sarif", "github", "azure"}

// Write writes the report: text is a table for people; json is the Report with a version, whose fields are only added to;
// sarif is SARIF 2.1.0; github and azure are workflow commands that GitHub Actions and Azure Pipelines turn into
// annotations. version is the program's own, for SARIF.
func (r *Report) Write(w io.Writer, format, version string) error {
	switch format {
	case "text":
		return r.text(w)
	case "json":
		return writeJSON(w, struct {
			APIVersion string `json:"apiVersion"`
			*Report
		}{"sluice/v1", r})
	case "sarif":
		return writeJSON(w, r.sarif(version))
	case "github":
		return r.lines(w, githubLine)
	case "azure":
		return r.lines(w, azureLine)
	}
	return fmt.Errorf("unknown output %q: use %s", format, strings.Join(Formats, ", "))
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (f Finding) place() string {
	if f.Line == 0 {
		return f.File
	}
	return f.File + ":" + strconv.Itoa(f.Line)
}

// text is one paragraph a finding: where, which check and what; then why and fix, indented. At the end stands a table of
// the files: how many findings each has, of which checks.
func (r *Report) text(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s\t%s\t%s\n", oneLine(f.place()), f.label(), oneLine(f.Seen))
		if f.Why != "" {
			fmt.Fprintf(&b, "  why  %s\n", oneLine(f.Why))
		}
		if f.Fix != "" {
			fmt.Fprintf(&b, "  fix  %s\n", oneLine(f.Fix))
		}
	}
	r.table(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) table(b *strings.Builder) {
	counts, labels := map[string]int{}, map[string][]string{}
	width := len("FILE")
	for _, f := range r.Findings {
		name := oneLine(f.File)
		counts[name]++
		if !slices.Contains(labels[name], f.label()) {
			labels[name] = append(labels[name], f.label())
		}
		width = max(width, utf8.RuneCountInString(name))
	}
	if len(counts) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%-*s  FINDINGS  CHECKS\n", width, "FILE")
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(b, "%-*s  %-8d  %s\n", width, name, counts[name], strings.Join(labels[name], ", "))
	}
}

func (f Finding) label() string {
	if f.Level == Error {
		return f.Check
	}
	return f.Check + " (" + string(f.Level) + ")"
}

// Summary is one line about the whole check.
func (r *Report) Summary() string {
	errors, notes := 0, 0
	for _, f := range r.Findings {
		if f.Level == Error {
			errors++
		} else {
			notes++
		}
	}
	s := fmt.Sprintf("%d files, %d sealed: %d findings", r.Files, r.Sealed, errors)
	if notes > 0 {
		s += fmt.Sprintf(", %d notes", notes)
	}
	switch {
	case r.Sealed == 0:
	case r.MACs == 0:
		s += "; no MAC was looked at, for want of a key"
	case r.Unverified > 0:
		s += fmt.Sprintf("; %d MACs verified, %d not looked at, for want of a key", r.MACs, r.Unverified)
	default:
		s += fmt.Sprintf("; %d MACs verified", r.MACs)
	}
	return s
}

// oneLine takes out what could break a line, or begin a command of a CI system: file names are an author's choice.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

func (r *Report) lines(w io.Writer, line func(Finding) string) error {
	for _, f := range r.Findings {
		if _, err := fmt.Fprintln(w, line(f)); err != nil {
			return err
		}
	}
	return nil
}

func (f Finding) message() string {
	s := f.Seen
	if f.Why != "" {
		s += ": " + f.Why
	}
	if f.Fix != "" {
		s += "; fix: " + f.Fix
	}
	return oneLine(s)
}

// githubLine is a workflow command (docs.github.com, "Workflow commands for GitHub Actions").
func githubLine(f Finding) string {
	command := "error"
	if f.Level == Note {
		command = "notice"
	}
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	s := "::" + command + " file=" + property.Replace(f.File)
	if f.Line > 0 {
		s += ",line=" + strconv.Itoa(f.Line)
	}
	return s + ",title=" + property.Replace("sluice "+f.Check) + "::" + data.Replace(f.message())
}

// azureLine is a logging command (learn.microsoft.com, "Logging commands"). There is no kind below warning.
func azureLine(f Finding) string {
	kind := "error"
	if f.Level == Note {
		kind = "warning"
	}
	escape := strings.NewReplacer("%", "%AZP25", "\r", "%0D", "\n", "%0A", ";", "%3B", "]", "%5D")
	s := "##vso[task.logissue type=" + kind + ";sourcepath=" + escape.Replace(f.File)
	if f.Line > 0 {
		s += ";linenumber=" + strconv.Itoa(f.Line)
	}
	data := strings.NewReplacer("%", "%AZP25", "\r", "%0D", "\n", "%0A")
	return s + ";code=" + f.Check + "]" + data.Replace(f.message())
}

// The parts of SARIF 2.1.0 that are used (docs.oasis-open.org/sarif/sarif/v2.1.0).
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		InformationURI string      `json:"informationUri"`
		Version        string      `json:"version,omitempty"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string    `json:"id"`
		ShortDescription sarifText `json:"shortDescription"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Physical struct {
			Artifact struct {
				URI       string `json:"uri"`
				URIBaseID string `json:"uriBaseId"`
			} `json:"artifactLocation"`
			Region *sarifRegion `json:"region,omitempty"`
		} `json:"physicalLocation"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
)

func (r *Report) sarif(version string) sarifLog {
	ids := slices.Sorted(maps.Keys(Checks))
	driver := sarifDriver{Name: "sluice secrets check", InformationURI: "https://github.com/sluice-gitops/sluice/blob/main/docs/secrets-check.md", Version: version}
	for _, id := range ids {
		driver.Rules = append(driver.Rules, sarifRule{id, sarifText{Checks[id]}})
	}
	run := sarifRun{Tool: sarifTool{driver}, Results: []sarifResult{}}
	for _, f := range r.Findings {
		var at sarifLocation
		at.Physical.Artifact.URI, at.Physical.Artifact.URIBaseID = escapePath(f.File), "%SRCROOT%"
		if f.Line > 0 {
			at.Physical.Region = &sarifRegion{f.Line}
		}
		run.Results = append(run.Results, sarifResult{RuleID: f.Check, RuleIndex: slices.Index(ids, f.Check), Level: string(f.Level),
			Message: sarifText{f.message()}, Locations: []sarifLocation{at}})
	}
	return sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}

// escapePath makes a URI reference of a path: what is not unreserved is a percent code.
func escapePath(p string) string {
	var b strings.Builder
	for _, c := range []byte(path.Clean(p)) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~/", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
