package main

import "fmt"

// target is what the project wants of one figure: at least a ratio to the peer's, or at most a value.
type target struct {
	work, metric string
	ratio        float64 // at least; 0: there is an upper bound instead
	most         float64 // at most, in the metric's unit
}

var targets = []target{
	{firstSync, "wall", 8, 0},
	{firstSync, "CPU", 12, 0},
	{firstSync, "all requests", 3, 0},
	{oneFile, "CPU", 30, 0},
	{oneFile, "all requests", 20, 0},
	{oneFile, "changed object applied", 0, 1},
	{reconcileAll, "CPU", 300, 0},
	{reconcileAll, "other requests", 0, 10},
	{handDeleted, "put right after", 0, 1},
	{handEdited, "put right after", 0, 1},
	{memoryWork, "peak resident", 2, 0},
	{toSluice, "objects written", 0, 0},
	{toSluice, "objects pruned", 0, 0},
	{toFlux, "objects written", 0, 0},
	{toFlux, "objects pruned", 0, 0},
	{laptopFirst, "wall", 0, 30},
	{laptopAgain, "wall", 0, 10},
	{laptopPush, "applied after", 0, 1},
	{laptopMemory, "resident", 0, 1200},
	{fmt.Sprintf(secretsOwn, 500), "wall", 20, 0},
	{fmt.Sprintf(secretsOwn, 500), "challenges", 0, 1},
	{fmt.Sprintf(secretsOwn, 500), "authorized vault requests", 0, 500},
	{fmt.Sprintf(secretsShared, 500), "wall", 200, 0},
	{fmt.Sprintf(secretsShared, 500), "authorized vault requests", 0, 1},
	{fmt.Sprintf(secretsEncrypt, 500), "challenges", 0, 0},
	{fmt.Sprintf(secretsEncrypt, 500), "authorized vault requests", 0, 0},
	{secretsSeal, "wall", 1, 0},
	{secretsSeal, ownMemory, 1, 0},
	{secretsOpen, "wall", 1, 0},
	{secretsOpen, ownMemory, 1, 0},
}

// verdict says in words what the target of a line is, and whether it is met or by how much it is missed.
func (l result) verdict() (want, met string) {
	for _, t := range targets {
		if t.work != l.Work || t.metric != l.Metric {
			continue
		}
		if t.ratio > 0 {
			want = fmt.Sprintf("≥ %g×", t.ratio)
			switch {
			case l.Ratio == nil:
				return want, "not measured"
			case *l.Ratio >= t.ratio:
				return want, "met"
			}
			return want, fmt.Sprintf("missed: %.2g× too little", t.ratio / *l.Ratio)
		}
		want = fmt.Sprintf("≤ %g %s", t.most, l.Unit)
		switch {
		case l.Value == nil:
			return want, "not measured"
		case *l.Value <= t.most:
			return want, "met"
		case t.most == 0:
			return want, fmt.Sprintf("missed by %g", *l.Value)
		}
		return want, fmt.Sprintf("missed: %.2g× too much", *l.Value/t.most)
	}
	return "", ""
}
