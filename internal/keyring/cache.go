package keyring

import (
	"bytes"
	"container/list"
	"sync"
	"time"
)

// entryKey names a data key: whose, under which key, and the hash of its wrapped form.
type entryKey struct {
	part *partition
	key  string
	enc  [32]byte
}

type entry struct {
	key     entryKey
	dataKey []byte
	until   time.Time
}

// cache keeps data keys for a time and up to a number, the longest unused going first. What leaves it is overwritten.
type cache struct {
	ttl time.Duration
	max int
	now func() time.Time

	mu      sync.Mutex
	entries map[entryKey]*list.Element
	order   *list.List // of *entry, the most recently used first
}

func newCache(ttl time.Duration, max int, now func() time.Time) *cache {
	return &cache{ttl: ttl, max: max, now: now, entries: map[entryKey]*list.Element{}, order: list.New()}
}

// get returns a copy of a data key, or nil.
func (c *cache) get(k entryKey) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.entries[k]
	if !ok {
		return nil
	}
	e := el.Value.(*entry)
	if !c.now().Before(e.until) {
		c.remove(el)
		return nil
	}
	c.order.MoveToFront(el)
	return bytes.Clone(e.dataKey)
}

// put keeps a copy of a data key.
func (c *cache) put(k entryKey, dataKey []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.entries[k]; ok {
		c.remove(el)
	}
	c.entries[k] = c.order.PushFront(&entry{k, bytes.Clone(dataKey), c.now().Add(c.ttl)})
	for c.order.Len() > c.max {
		c.remove(c.order.Back())
	}
}

// drop removes all data keys of a partition.
func (c *cache) drop(p *partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, el := range c.entries {
		if k.part == p {
			c.remove(el)
		}
	}
}

// remove forgets an entry; the lock is held.
func (c *cache) remove(el *list.Element) {
	e := c.order.Remove(el).(*entry)
	clear(e.dataKey)
	delete(c.entries, e.key)
}
