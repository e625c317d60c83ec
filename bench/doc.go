// Command bench measures Sluice beside Flux's controllers in one run: the same workload, the same kind of API server
// (a fresh one each), the same machine, temp files on tmpfs for both; and sluice secrets beside sops.
//
// It reads what the kernel and the API server count (CPU time and peak memory in /proc, apiserver_request_total in
// /metrics), writes every figure into results.json, and makes docs/benchmarks.md of that file. It refuses to report
// what it has not measured: a work that did not end in time is an error, not a number.
package main
