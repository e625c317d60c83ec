// Package gitpush puts files on top of a branch of a remote repository: it reads the head, makes one commit and pushes
// it, over https, http or ssh, without a working copy, a temporary folder of the repository or a git program.
//
// Only the head's objects are fetched and only the new ones are sent. A push that lost a race is made again on the new
// head; one that the host refuses is a fault with what the host said. It never forces a push, never makes a branch in
// a repository that has others, and never trusts a host key that is not in the known hosts it was given.
package gitpush
