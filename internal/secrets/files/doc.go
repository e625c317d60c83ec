// Package files reads and replaces the files that hold secrets: one at a time so that nobody ever sees half of one, and
// many side by side so that one that fails leaves the others alone.
//
// It stands under package secrets, which knows what to do with a file's bytes. A file is written beside itself, synced
// and renamed, with its mode, and only if it still is what was read. It refuses to write through symbolic links and over
// files that are marked read-only, both of which a rename would silently replace, and never follows links out of a
// folder. What it writes beside a file is what the caller handed over: sealed documents, or plaintext where the user
// asked for it with decrypt --in-place.
package files
