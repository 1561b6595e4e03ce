package transaction

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// The simulated disk. Its state is a value: every operation makes another one,
// and equal ones have one number, so that what an operation does to a state is
// found out once.
//
// It promises what POSIX promises and not more. The data of a file is durable
// after its fsync; before, a power cut leaves the old data, none, half or all of
// the new. An entry of a directory is durable after the directory's fsync;
// before, any subset of the changes may have reached the disk, each of them, a
// rename too, whole or not at all. What is below /run is gone in any case.

// inode is a file or link. Its data may be found after a power cut as any of
// survivors.
type inode struct {
	data      string
	survivors []string
}

// change is a change of a directory that is not synced: name is made to be
// inode, or removed where inode is none; a rename takes from away as well.
type change struct {
	name, from string
	inode      int
}

const none = -1

// disk is the file system and the locks on its files.
type disk struct {
	inodes []inode
	// files is what programs see, durable what is on the disk for sure.
	files, durable map[string]int
	pending        []change
	// locks are the locks of both kinds: the file and the process that holds it.
	locks map[string]int
}

const inMemory = "/run/"

func (d *disk) clone() *disk {
	c := &disk{files: maps.Clone(d.files), durable: maps.Clone(d.durable), pending: slices.Clone(d.pending), locks: maps.Clone(d.locks)}
	for _, n := range d.inodes {
		c.inodes = append(c.inodes, inode{n.data, slices.Clone(n.survivors)})
	}
	return c
}

// canonical renumbers the inodes in the order of their first use, without those
// that nobody sees any more, and returns a text that equal disks share.
func (d *disk) canonical() string {
	var text strings.Builder
	write := func(name string, n int) {
		text.WriteString(name)
		text.WriteByte('=')
		text.WriteString(strconv.Itoa(n))
		text.WriteByte('\n')
	}
	number := map[int]int{none: none}
	var kept []inode
	use := func(i int) int {
		if _, ok := number[i]; !ok {
			number[i] = len(kept)
			kept = append(kept, d.inodes[i])
		}
		return number[i]
	}
	for _, tree := range []map[string]int{d.files, d.durable} {
		for _, name := range slices.Sorted(maps.Keys(tree)) {
			tree[name] = use(tree[name])
			write(name, tree[name])
		}
		text.WriteString("--\n")
	}
	for i, c := range d.pending {
		d.pending[i].inode = use(c.inode)
		write(c.name+"<"+c.from, d.pending[i].inode)
	}
	d.inodes = kept
	for _, n := range d.inodes {
		write(n.data, len(n.data))
		for _, data := range n.survivors {
			write(data, len(data))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.locks)) {
		write(name, d.locks[name])
	}
	return text.String()
}

func (d *disk) read(name string) (string, bool) {
	i, ok := d.files[name]
	if !ok {
		return "", false
	}
	return d.inodes[i].data, true
}

// change records a change of a directory, and makes it seen.
func (d *disk) change(c change) {
	if !strings.HasPrefix(c.name, inMemory) {
		d.pending = append(d.pending, c)
	}
	c.apply(d.files)
}

func (c change) apply(tree map[string]int) {
	delete(tree, c.from)
	delete(tree, c.name)
	if c.inode != none {
		tree[c.name] = c.inode
	}
}

func (d *disk) create(name string, n inode) {
	d.inodes = append(d.inodes, n)
	d.change(change{name: name, inode: len(d.inodes) - 1})
}

func (d *disk) write(name, data string) {
	n := &d.inodes[d.files[name]]
	n.data = data
	n.survivors = append(n.survivors, "", data[:len(data)/2], data)
	slices.Sort(n.survivors)
	n.survivors = slices.Compact(n.survivors)
}

func (d *disk) sync(name string) {
	n := &d.inodes[d.files[name]]
	n.survivors = []string{n.data}
}

// syncDir makes the changes of one directory durable.
func (d *disk) syncDir(dir string) {
	d.pending = slices.DeleteFunc(d.pending, func(c change) bool {
		if path.Dir(c.name) != dir {
			return false
		}
		c.apply(d.durable)
		return true
	})
}

func (d *disk) removeAll(name string) {
	for _, f := range slices.Sorted(maps.Keys(d.files)) {
		if strings.HasPrefix(f, name+"/") {
			d.change(change{name: f, inode: none})
		}
	}
	// Who holds a lock on a file that is gone keeps nobody out any more.
	maps.DeleteFunc(d.locks, func(f string, _ int) bool { return strings.HasPrefix(f, name+"/") })
}

func (d *disk) list(dir string) []string {
	names := map[string]bool{}
	note := func(f string) {
		if below, ok := strings.CutPrefix(f, dir+"/"); ok {
			first, _, deeper := strings.Cut(below, "/")
			names[first] = deeper
		}
	}
	for f := range d.files {
		note(f)
	}
	for f := range d.locks {
		note(f)
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if names[name] {
			name += "/"
		}
		list = append(list, name)
	}
	return list
}

// dropTemporary forgets the temporary files of a process that has ended. Nobody
// reads them, and the next one makes them anew; links that are roots count.
func (d *disk) dropTemporary(writer string) {
	theirs := func(name string) bool {
		return temporary(name) && path.Ext(name) == "."+writer && path.Dir(name) != simRoots
	}
	drop := func(name string, _ int) bool { return theirs(name) }
	maps.DeleteFunc(d.files, drop)
	maps.DeleteFunc(d.durable, drop)
	d.pending = slices.DeleteFunc(d.pending, func(c change) bool { return theirs(c.name) })
}

// keepAll makes durable what programs see.
func (d *disk) keepAll() {
	d.durable, d.pending = map[string]int{}, nil
	for name, i := range d.files {
		n := &d.inodes[i]
		n.survivors = []string{n.data}
		if !strings.HasPrefix(name, inMemory) {
			d.durable[name] = i
		}
	}
}

// crash returns every disk that the next boot may meet. What happened to one
// directory says nothing about another. Temporary files of the record are left
// out: their names are random, and nobody reads them.
func (d *disk) crash() []*disk {
	trees := []map[string]int{{}}
	dirs := map[string]bool{}
	for name := range d.durable {
		dirs[path.Dir(name)] = true
	}
	for _, c := range d.pending {
		dirs[path.Dir(c.name)] = true
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		var more []map[string]int
		for _, part := range d.survivors(dir) {
			for _, tree := range trees {
				joined := maps.Clone(tree)
				maps.Copy(joined, part)
				more = append(more, joined)
			}
		}
		trees = more
	}
	var outcomes []*disk
	for _, tree := range trees {
		after := &disk{files: tree, durable: maps.Clone(tree), locks: map[string]int{}}
		for _, n := range d.inodes {
			after.inodes = append(after.inodes, inode{n.data, slices.Clone(n.survivors)})
		}
		outcomes = append(outcomes, after.settle(slices.Sorted(maps.Keys(tree)))...)
	}
	return outcomes
}

// survivors are the contents that a directory may have after a power cut.
func (d *disk) survivors(dir string) []map[string]int {
	durable := maps.Clone(d.durable)
	maps.DeleteFunc(durable, func(name string, _ int) bool { return path.Dir(name) != dir })
	found := []map[string]int{durable}
	for _, c := range d.pending {
		if path.Dir(c.name) != dir {
			continue
		}
		for _, tree := range slices.Clone(found) {
			with := maps.Clone(tree)
			c.apply(with)
			if c.name[len(dir)+1] == '.' && dir != simRoots {
				delete(with, c.name)
			}
			if !slices.ContainsFunc(found, func(other map[string]int) bool { return maps.Equal(with, other) }) {
				found = append(found, with)
			}
		}
	}
	return found
}

// settle decides what data each of the files has that was not synced.
func (d *disk) settle(names []string) []*disk {
	for k, name := range names {
		n := d.inodes[d.files[name]]
		if len(n.survivors) == 1 {
			d.inodes[d.files[name]].data = n.survivors[0]
			continue
		}
		var outcomes []*disk
		for _, data := range n.survivors {
			c := d.clone()
			c.inodes[c.files[name]] = inode{data, []string{data}}
			outcomes = append(outcomes, c.settle(names[k+1:])...)
		}
		return outcomes
	}
	return []*disk{d}
}

// verb is what an operation does.
type verb int

// The operations of processes. Those up to opExit are done to the disk alone.
const (
	opRead verb = iota
	opList
	opCreate
	opWrite
	opSync
	opSyncDir
	opLink
	opRename
	opRemove
	opRemoveAll
	opLock    // waits until the lock is free
	opClaim   // takes the lock, or finds it taken
	opClaimed // asks for it
	opUnlock
	opExit // frees every lock of the process
	opWait // for a change of the files, or for nothing at all
	opNow
	opLook
	opArm
	opArmed
	opDisarm
	opSupervise
	opHoldSwitch
	opFreeSwitch
	opProbe
	opKill      // of a transaction's supervisor
	opUnitKill  // of a switch
	opUnitStart // of a switch
	opUnitWait
	opReboot
	opProve       // what the host can find out about itself
	opRestartLast // of the agent
	opDecide      // the deployer's decision
)

// looks says that an operation changes nothing.
func (v verb) looks() bool {
	switch v {
	case opRead, opList, opClaimed, opWait, opNow, opLook, opArmed, opDecide, opProve:
		return true
	default:
		return false
	}
}

// op is an operation of a process that others can see, or that a power cut can
// fall after.
type op struct {
	verb verb
	// path is the file, or the name of what is acted upon; arg the data, the
	// target or the new name.
	path, arg string
}

func (o op) String() string {
	names := [...]string{"read", "list", "create", "write", "fsync", "fsync directory", "link", "rename", "remove", "remove tree", "lock", "claim",
		"ask for claim", "unlock", "exit", "look again", "read clock", "look at the host", "arm", "ask for timer", "disarm", "start supervisor",
		"take switch lock", "free switch lock", "probe", "kill supervisor", "kill switch", "start switch", "await switch", "reboot", "prove", "restart last", "decide"}
	arg := o.arg
	if o.verb == opWrite {
		arg = ""
	}
	return strings.TrimSpace(names[o.verb] + " " + o.path + " " + arg)
}

// Results that are not data.
const (
	absent = "absent"
	busy   = "busy"
	yes    = "yes"
)

// does carries an operation out; ok is false where it must wait.
func (d *disk) does(o op, process int) (result string, ok bool) {
	switch o.verb {
	case opRead:
		data, ok := d.read(o.path)
		if !ok {
			return absent, true
		}
		return "=" + data, true
	case opList:
		return strings.Join(d.list(o.path), "\n"), true
	case opCreate:
		d.create(o.path, inode{survivors: []string{""}})
	case opWrite:
		d.write(o.path, o.arg)
	case opSync:
		d.sync(o.path)
	case opSyncDir:
		d.syncDir(o.path)
	case opLink:
		d.create(o.path, inode{o.arg, []string{o.arg}})
	case opRename:
		i, there := d.files[o.path]
		if !there {
			return absent, true
		}
		d.change(change{name: o.arg, from: o.path, inode: i})
	case opRemove:
		if _, there := d.files[o.path]; !there {
			return absent, true
		}
		d.change(change{name: o.path, inode: none})
	case opRemoveAll:
		d.removeAll(o.path)
	case opLock:
		if _, held := d.locks[o.path]; held {
			return "", false
		}
		d.locks[o.path] = process
	case opClaim:
		if _, held := d.locks[o.path]; held {
			return busy, true
		}
		d.locks[o.path] = process
	case opClaimed:
		if _, held := d.locks[o.path]; held {
			return yes, true
		}
	case opUnlock:
		if holder, held := d.locks[o.path]; held && holder == process {
			delete(d.locks, o.path)
		}
	case opExit:
		maps.DeleteFunc(d.locks, func(_ string, holder int) bool { return holder == process })
		d.dropTemporary(slot(process).String())
	default:
		panic("not an operation of the disk: " + o.String())
	}
	return "", true
}
