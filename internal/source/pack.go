package source

import (
	"bufio"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// pack is one immutable pack file and its index. The file is held open, so that its objects stay readable after the
// file is unlinked; the runtime closes it once no revision refers to it.
type pack struct {
	index   *idxfile.MemoryIndex
	file    *os.File
	readers sync.Pool // *packfile.Packfile: each has a position of its own, none is safe for two goroutines
}

func newPack(index *idxfile.MemoryIndex, file *os.File, size int64, shared cache.Object) *pack {
	p := &pack{index: index, file: file}
	p.readers.New = func() any {
		at := &fileAt{SectionReader: io.NewSectionReader(file, 0, size), name: file.Name()}
		return packfile.NewPackfileWithCache(index, nil, at, shared, 0)
	}
	return p
}

func (p *pack) has(h plumbing.Hash) bool {
	ok, err := p.index.Contains(h)
	return err == nil && ok
}

func (p *pack) object(h plumbing.Hash) (o plumbing.EncodedObject, err error) {
	r := p.readers.Get().(*packfile.Packfile)
	defer func() {
		// The library has panicked on malformed packs before; a pack is a stranger's data.
		if cause := recover(); cause != nil {
			o, err = nil, fmt.Errorf("malformed pack: %v", cause)
			return
		}
		p.readers.Put(r)
	}()
	return r.Get(h)
}

// openPack opens a pack that is on disk already, and verifies the whole of it against its checksum: a crash or a full
// disk may have cut it short.
func openPack(path string, shared cache.Object) (*pack, error) {
	idx, err := os.Open(strings.TrimSuffix(path, ".pack") + ".idx")
	if err != nil {
		return nil, err
	}
	defer idx.Close()
	index := idxfile.NewMemoryIndex()
	if err := idxfile.NewDecoder(bufio.NewReaderSize(idx, 64<<10)).Decode(index); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil {
		err = checkTrailer(file, info.Size(), index.PackfileChecksum)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return newPack(index, file, info.Size(), shared), nil
}

func checkTrailer(file io.ReaderAt, size int64, want [20]byte) error {
	if size < 32 { // header and trailer
		return errors.New("pack cut short")
	}
	sum := sha1.New()
	if _, err := io.Copy(sum, io.NewSectionReader(file, 0, size-20)); err != nil {
		return err
	}
	var got, trailer [20]byte
	sum.Sum(got[:0])
	if _, err := file.ReadAt(trailer[:], size-20); err != nil {
		return err
	}
	if got != trailer || got != want {
		return errors.New("pack checksum mismatch")
	}
	return nil
}

// writePack stores a pack that comes from a remote: into a temporary file, parsed there (which checks its checksum and
// gives every object's hash), then under its final name, the index last. A thin pack is completed with objects that held
// gives; with a nil held there are no thin packs. A pack without objects gives nil.
func writePack(dir string, from io.Reader, held func(plumbing.Hash) (plumbing.EncodedObject, bool), limit func(io.Writer) io.Writer,
	shared cache.Object) (p *pack, err error) {
	file, err := os.CreateTemp(dir, "tmp_pack_*")
	if err != nil {
		return nil, storageFault("cannot write the object store", err)
	}
	name := file.Name()
	defer func() {
		if p == nil {
			file.Close()
			os.Remove(name)
		}
	}()
	to := &diskWriter{w: limit(file)}
	size, err := io.Copy(to, from)
	if to.err != nil {
		return nil, storageFault("cannot write the object store", to.err)
	}
	if err != nil {
		return nil, err
	}
	if held != nil {
		if size, err = completePack(file, size, held); err != nil {
			return nil, err
		}
	}
	index, sum, err := parsePack(file)
	if err != nil {
		return nil, err
	}
	if n, _ := index.Count(); n == 0 {
		return nil, nil
	}
	base := filepath.Join(dir, "pack-"+sum.String())
	if err := os.Rename(name, base+".pack"); err != nil {
		return nil, storageFault("cannot write the object store", err)
	}
	name = base + ".pack"
	if err := writeIndex(base+".idx", index, limit); err != nil {
		return nil, storageFault("cannot write the object store", err)
	}
	return newPack(index, file, size, shared), nil
}

func parsePack(file *os.File) (index *idxfile.MemoryIndex, sum plumbing.Hash, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			index, err = nil, fmt.Errorf("malformed pack: %v", cause)
		}
	}()
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, sum, err
	}
	writer := new(idxfile.Writer)
	parser, err := packfile.NewParser(packfile.NewScanner(file), writer)
	if err != nil {
		return nil, sum, err
	}
	if sum, err = parser.Parse(); err != nil {
		return nil, sum, fmt.Errorf("malformed pack: %w", err)
	}
	index, err = writer.Index()
	return index, sum, err
}

func writeIndex(path string, index *idxfile.MemoryIndex, limit func(io.Writer) io.Writer) error {
	return replaceFile(path, func(w io.Writer) error {
		b := bufio.NewWriterSize(limit(w), 64<<10)
		if _, err := idxfile.NewEncoder(b).Encode(index); err != nil {
			return err
		}
		return b.Flush()
	})
}

// replaceFile writes path through a temporary file beside it, so that a reader or a crash sees all of it or none.
func replaceFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "tmp_*")
	if err != nil {
		return err
	}
	err = write(f)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// diskWriter remembers that it was the disk that failed, not the network that io.Copy reads from.
type diskWriter struct {
	w   io.Writer
	err error
}

func (d *diskWriter) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	if err != nil {
		d.err = err
	}
	return n, err
}

// fileAt is a read position in a shared file, in the clothes that the pack reader asks for.
type fileAt struct {
	billy.File // nil: nothing but reading is ever asked of it
	*io.SectionReader
	name string
}

func (f *fileAt) Name() string                            { return f.name }
func (f *fileAt) Close() error                            { return nil }
func (f *fileAt) Read(p []byte) (int, error)              { return f.SectionReader.Read(p) }
func (f *fileAt) ReadAt(p []byte, off int64) (int, error) { return f.SectionReader.ReadAt(p, off) }
func (f *fileAt) Seek(offset int64, whence int) (int64, error) {
	return f.SectionReader.Seek(offset, whence)
}
