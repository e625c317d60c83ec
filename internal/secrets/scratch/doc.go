// Package scratch lends plaintext a place outside this process that is no disk: a folder on a memory file system, for an
// editor or a command that wants a file.
//
// It stands beside package secrets, whose edit and exec-file need it. The folder is 0700, files in it are 0600, and it is
// removed on every way out: by Close, and by a watcher, a process of its own that outlives this one, notices its end by
// a pipe that closes, and removes what kill -9 left. It refuses to use a file system that the kernel does not call
// tmpfs or ramfs; there is no flag for a disk. Memory may still be swapped out: encrypted swap is the machine's business.
package scratch
