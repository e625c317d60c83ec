package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"slices"
)

// result is one line of results.json.
type result struct {
	Work      string   `json:"work"`
	Metric    string   `json:"metric"`
	Unit      string   `json:"unit"`
	Peer      string   `json:"peer"`       // whom Sluice is measured against; empty: nobody
	PeerValue *float64 `json:"peer_value"` // median
	Value     *float64 `json:"value"`      // median, Sluice's
	Ratio     *float64 `json:"ratio"`      // peer_value / value
	Runs      int      `json:"runs"`
}

// results are the figures of earlier invocations and of this one.
type results struct {
	old     []result
	order   [][3]string // work, metric, unit
	samples map[[3]string]map[string][]float64
}

func readResults(path string) (*results, error) {
	r := &results{samples: map[[3]string]map[string][]float64{}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	return r, json.Unmarshal(data, &r.old)
}

// add records one measurement of an engine.
func (r *results) add(engine, work, metric, unit string, value float64) {
	k := [3]string{work, metric, unit}
	if r.samples[k] == nil {
		r.samples[k] = map[string][]float64{}
		r.order = append(r.order, k)
	}
	r.samples[k][engine] = append(r.samples[k][engine], value)
}

func (r *results) addCost(engine, work string, c cost) {
	if c.wall > 0 {
		r.add(engine, work, "wall", "s", c.wall)
	}
	r.add(engine, work, "CPU", "s", c.cpu)
	r.add(engine, work, "status writes", "requests", c.status)
	r.add(engine, work, "other requests", "requests", c.other)
	r.add(engine, work, "all requests", "requests", c.status+c.other)
	if c.apiCPU > 0 {
		r.add(engine, work, "CPU of API server and etcd", "s", c.apiCPU)
	}
	if c.changed > 0 {
		r.add(engine, work, "changed object applied", "s", c.changed)
	}
}

// lines are this invocation's results, followed by earlier ones of what was not measured now.
func (r *results) lines() []result {
	var out []result
	for _, k := range r.order {
		l := result{Work: k[0], Metric: k[1], Unit: k[2]}
		if at := slices.IndexFunc(r.old, func(o result) bool { return o.Work == l.Work && o.Metric == l.Metric }); at >= 0 {
			l = r.old[at]
		}
		for engine, values := range r.samples[k] {
			m := median(values)
			l.Runs = len(values)
			if engine == "sluice" {
				l.Value = &m
			} else {
				l.Peer, l.PeerValue = engine, &m
			}
		}
		l.Ratio = nil
		if l.PeerValue != nil && l.Value != nil && *l.Value > 0 {
			l.Ratio = new(round(*l.PeerValue / *l.Value))
		}
		out = append(out, l)
	}
	for _, o := range r.old {
		if !slices.ContainsFunc(out, func(l result) bool { return l.Work == o.Work && l.Metric == o.Metric }) {
			out = append(out, o)
		}
	}
	return out
}

func (r *results) write(path string) error {
	data, err := json.MarshalIndent(r.lines(), "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return round((s[(n-1)/2] + s[n/2]) / 2)
}

// round keeps three decimals.
func round(v float64) float64 { return math.Round(v*1000) / 1000 }
