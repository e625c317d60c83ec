package source

import (
	"bufio"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// completePack makes a thin pack whole: one whose deltas lean on objects that the remote left out because we said we
// have them. As git index-pack --fix-thin does, it appends those objects and corrects count and checksum. held gives an
// object that the store has.
//
// Thin packs are asked for because of what else they change: only then does the remote leave out the unchanged files of
// a commit that is fetched without its parents.
func completePack(file *os.File, size int64, held func(plumbing.Hash) (plumbing.EncodedObject, bool)) (int64, error) {
	count, bases, err := deltaBases(file)
	if err != nil {
		return size, fmt.Errorf("malformed pack: %w", err)
	}
	end := io.NewOffsetWriter(file, size-sha1.Size)
	to := &diskWriter{w: end}
	for _, h := range bases {
		o, ok := held(h)
		if !ok {
			continue // in the pack itself, or missing: the parser will tell
		}
		if err := appendObject(to, o); err != nil {
			return size, storageOr(to.err, err)
		}
		count++
	}
	at, _ := end.Seek(0, io.SeekCurrent)
	if size = size - sha1.Size + at; at == 0 {
		return size + sha1.Size, nil
	}
	if _, err := file.WriteAt(binary.BigEndian.AppendUint32(nil, count), 8); err != nil {
		return size, storageOr(err, err)
	}
	sum := sha1.New()
	if _, err := io.Copy(sum, io.NewSectionReader(file, 0, size)); err != nil {
		return size, storageOr(err, err)
	}
	if _, err := file.WriteAt(sum.Sum(nil), size); err != nil {
		return size, storageOr(err, err)
	}
	return size + sha1.Size, nil
}

func storageOr(disk, other error) error {
	if disk != nil {
		return storageFault("cannot write the object store", disk)
	}
	return other
}

// deltaBases lists the objects that a pack's deltas name by hash, after checking the pack's checksum.
func deltaBases(file io.ReadSeeker) (count uint32, bases []plumbing.Hash, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%v", cause)
		}
	}()
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return 0, nil, err
	}
	s := packfile.NewScanner(file)
	if _, count, err = s.Header(); err != nil {
		return 0, nil, err
	}
	seen := map[plumbing.Hash]bool{}
	for range count {
		h, err := s.NextObjectHeader()
		if err != nil {
			return 0, nil, err
		}
		if h.Type == plumbing.REFDeltaObject && !seen[h.Reference] {
			seen[h.Reference] = true
			bases = append(bases, h.Reference)
		}
		if _, _, err := s.NextObject(io.Discard); err != nil {
			return 0, nil, err
		}
	}
	_, err = s.Checksum()
	return count, bases, err
}

// appendObject writes an object in a pack's form: type and length in a variable number of bytes, then the content
// deflated.
func appendObject(w io.Writer, o plumbing.EncodedObject) error {
	b := bufio.NewWriter(w)
	size := uint64(o.Size())
	c := byte(o.Type())<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		b.WriteByte(c | 0x80)
		c = byte(size & 0x7f)
	}
	b.WriteByte(c)
	r, err := o.Reader()
	if err != nil {
		return err
	}
	defer r.Close()
	z := zlib.NewWriter(b)
	if _, err := io.Copy(z, r); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return b.Flush()
}
