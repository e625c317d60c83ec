//go:build unix

package cli

import (
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// shell runs a command line that follows it.
var shell = []string{"/bin/sh", "-c"}

// as makes the command run as another user; empty: as this one.
func as(c *exec.Cmd, name string) error {
	if name == "" {
		return nil
	}
	u, cred, err := credential(name)
	if err != nil {
		return err
	}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	c.Env = append(c.Env, "HOME="+u.HomeDir, "USER="+u.Username, "LOGNAME="+u.Username)
	return nil
}

func credential(name string) (*user.User, *syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, nil, err
	}
	cred := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, nil, err
	}
	for _, g := range groups {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil {
			cred.Groups = append(cred.Groups, uint32(n))
		}
	}
	return u, cred, nil
}

// become replaces this process by the command.
func become(name, command string, env []string) error {
	if name != "" {
		u, cred, err := credential(name)
		if err != nil {
			return err
		}
		groups := make([]int, len(cred.Groups))
		for i, g := range cred.Groups {
			groups[i] = int(g)
		}
		if err := syscall.Setgroups(groups); err != nil {
			return err
		}
		if err := syscall.Setgid(int(cred.Gid)); err != nil {
			return err
		}
		if err := syscall.Setuid(int(cred.Uid)); err != nil {
			return err
		}
		env = append(env, "HOME="+u.HomeDir, "USER="+u.Username, "LOGNAME="+u.Username)
	}
	return syscall.Exec("/bin/sh", []string{"/bin/sh", "-c", command}, env)
}
