package files

import (
	"context"
	"sync"
)

// Result is what became of one file.
type Result struct {
	Entry
	Did  string   // "encrypted", "unchanged"; empty: it was passed over
	Tell []string // what its user should know besides
	Err  error
}

// Run calls do for every file, workers at a time, and returns the results in the order of the files. A failure stops
// nothing; the end of ctx leaves the files that were not begun with ctx's error. progress may be nil.
func Run(ctx context.Context, entries []Entry, workers int, progress func(done int, last string), do func(ctx context.Context, e Entry) Result) []Result {
	results := make([]Result, len(entries))
	next := make(chan int)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		done int
	)
	for range min(workers, len(entries)) {
		wg.Go(func() {
			for i := range next {
				r := Result{Err: ctx.Err()}
				if r.Err == nil {
					r = do(ctx, entries[i])
				}
				r.Entry = entries[i]
				results[i] = r
				if progress != nil {
					mu.Lock()
					done++
					progress(done, entries[i].Path)
					mu.Unlock()
				}
			}
		})
	}
	for i := range entries {
		next <- i
	}
	close(next)
	wg.Wait()
	return results
}
