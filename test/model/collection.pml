/*
 * The protocol of core/DESIGN.md, section 7, for one blob: writers that rely on it or store it, deleters, collectors, merges of the index.
 *
 * Every step is one request to the store, or none; a process may stand still before any of them, for ever or until everything else is done.
 * So crashes, stopped processes and requests that arrive late are all in here, and no clock is: any session may be taken for dead at any time.
 * Sets of packs, sessions and records are bit masks.
 *
 * NO_<RULE> takes a rule out; `test/model/check.ts` shows that each of them is needed.
 */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef COLLECTORS
#define COLLECTORS 2
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef PACKS
#define PACKS 4
#endif
#ifndef LISTS
#define LISTS 2
#endif
#ifndef SEGMENTS
#define SEGMENTS 4
#endif
/* Merges of the index that run beside the collectors; collectors merge and release in rounds of their own when TIDY is defined. */
#ifndef MERGERS
#define MERGERS 0
#endif

#define bit(n) (1 << (n))
#define WRITE_SESSION(w) (w)
#define COMMIT_SESSION(w) (WRITERS + (w))
#define MERGE_SESSION(m) (2 * WRITERS + (m))
#define SESSIONS (2 * WRITERS + MERGERS + COLLECTORS)

byte present = 1;             /* packs in the bucket; each holds the blob */
byte segments[SEGMENTS];      /* the packs that each segment names */
byte segmentCount = 1;
byte packCount = 1;
byte lists[LISTS + 1];        /* tombstones: lists[n] is gc/<n>/packs; lists[0] is empty */
byte since[PACKS];
byte listCount = 0;
byte witnesses[LISTS + 1];    /* gc/<n>/sessions */
byte witnessed = 1;           /* which of them are there */
byte records = 1;             /* backups that name the blob: bit 0 is one that was there before, bit w + 1 is of writer w */
byte sessions = 0;            /* chains that exist */
byte announced = 0;           /* of them, those that announced the key they are about to create */
byte chainFences = 0;
byte chain[SESSIONS];         /* how far each has gone on: it deletes what is behind its newest object */
byte keyFences = 0;           /* fences in the place of what was announced */

inline readIndex(into) {
  d_step {
    into = 0;
    i = 0;
    do
    :: i < SEGMENTS -> into = into | segments[i]; i++
    :: else -> break
    od;
    i = 0;
  }
}

/* Nobody finds a backup without its blob: what the index names and is there must not be empty while a record is. */
inline check() {
  d_step {
    found = 0;
    i = 0;
    do
    :: i < SEGMENTS -> found = found | segments[i]; i++
    :: else -> break
    od;
    i = 0;
    assert(records == 0 || (found & present) != 0);
    found = 0;
  }
}

inline newPack(p) {
  atomic {
    packCount < PACKS;
    p = bit(packCount);
    packCount++;
    present = present | p;
  }
}

/* Announces a key in the session's chain; `ok` is whether the chain is not fenced. */
inline announce(s, ok) {
  atomic {
#ifdef NO_CHAIN_FENCE
    ok = true;
#else
    ok = (chainFences & bit(s)) == 0;
#endif
    if
    :: ok -> sessions = sessions | bit(s); announced = announced | bit(s); chain[s]++
    :: else
    fi
  }
}

/* It shows that it lives, unless its chain is fenced; or does not, as it stands still. */
inline beat(s) {
  if
  :: atomic { (chainFences & bit(s)) == 0 -> chain[s]++ }
  :: skip
  fi
}

inline endSession(s) {
  atomic { sessions = sessions & ~bit(s); announced = announced & ~bit(s) }
}

/* Creates an announced segment that names `packs`; `ok` is whether no fence was in its place. */
inline createSegment(s, packs, ok) {
  atomic {
#ifdef NO_KEY_FENCE
    ok = true;
#else
    ok = (keyFences & bit(s)) == 0;
#endif
    if
    :: ok -> segmentCount < SEGMENTS; segments[segmentCount] = packs; segmentCount++; announced = announced & ~bit(s)
    :: else
    fi
  }
}

proctype Writer(byte w) {
  byte known, condemned, index, i, pack, found;
  bool ok;

#ifdef NO_LIST_BEFORE_INDEX
  readIndex(index);
  atomic { known = listCount; condemned = lists[known] }
#else
  atomic { known = listCount; condemned = lists[known] }
  readIndex(index);
#endif
#ifdef NO_TOMBSTONES_RESPECTED
  condemned = 0;
#endif
  if
  :: (index & ~condemned) != 0 /* the blob is there: it is not sent */
  :: else ->
    sessions = sessions | bit(WRITE_SESSION(w)); /* opened with the write; it announces later */
    newPack(pack);
    beat(WRITE_SESSION(w));
    announce(WRITE_SESSION(w), ok);
    if :: !ok -> goto stop :: else fi;
    createSegment(WRITE_SESSION(w), pack, ok);
    if :: !ok -> goto stop :: else fi;
    endSession(WRITE_SESSION(w))
  fi;

  /* the commit */
#ifndef NO_SESSION
  announce(COMMIT_SESSION(w), ok);
  if :: !ok -> goto stop :: else fi;
#endif
#ifndef NO_LIST_BEFORE_COMMIT
  atomic {
    condemned = 0;
    i = known;
    do
    :: i < listCount -> i++; condemned = condemned | lists[i]
    :: else -> break
    od;
    i = 0;
    ok = known < listCount;
  }
  if
  :: ok ->
    readIndex(index);
    if
    :: (index & ~condemned) != 0
    :: else ->
#ifndef NO_COPY_AT_COMMIT
      if :: (index & present) == 0 -> goto stop :: else fi;
      newPack(pack);
      announce(WRITE_SESSION(w), ok);
      if :: !ok -> goto stop :: else fi;
      createSegment(WRITE_SESSION(w), pack, ok);
      if :: !ok -> goto stop :: else fi;
      endSession(WRITE_SESSION(w))
#else
      skip
#endif
    fi
  :: else
  fi;
#endif
#ifdef NO_UNDECIDED_SESSIONS
  /* The writer takes the record's put for lost and ends the session; the put arrives later. */
  if
  :: endSession(COMMIT_SESSION(w))
  :: skip
  fi;
#endif
  atomic {
#ifndef NO_KEY_FENCE
    if :: (keyFences & bit(COMMIT_SESSION(w))) != 0 -> goto stop :: else fi;
#endif
    records = records | bit(w + 1);
    announced = announced & ~bit(COMMIT_SESSION(w));
    check()
  }
  endSession(COMMIT_SESSION(w));
stop:
  skip
}

proctype Deleter() {
  if
  :: records = records & ~1
  :: records = records & 1
  :: skip
  fi;
  records = 0
}

/* Settles every session in `old`: it has ended, or is fenced. */
inline settle(old) {
  i = 0;
  do
  :: i < SESSIONS ->
    if
    :: (old & sessions & bit(i)) == 0
    :: else ->
#ifndef NO_CHAIN_FENCE
      seen = chain[i];
      do
      :: atomic { (sessions & bit(i)) == 0 -> break }
      :: atomic { (sessions & bit(i)) != 0 && chain[i] == seen -> chainFences = chainFences | bit(i); break }
      :: atomic {
           /* It went on since it was listed, and the fence gets behind it. */
           (sessions & bit(i)) != 0 && chain[i] != seen ->
#ifdef NO_LIST_AFTER_FENCE
           break
#else
           seen = chain[i]
#endif
         }
      od;
      seen = 0;
#endif
#ifndef NO_KEY_FENCE
      atomic { if :: (announced & bit(i)) != 0 -> keyFences = keyFences | bit(i) :: else fi };
#endif
      endSession(i)
    fi;
    i++
  :: else -> break
  od;
  i = 0
}

/* Rewrites the index without rows of packs that are condemned and gone; `m` is the session. */
inline merge(m) {
  announce(m, ok);
  if :: !ok -> goto merged :: else fi;
  condemned = lists[listCount];
  d_step {
    index = 0;
    sources = 0;
    i = 0;
    do
    :: i < SEGMENTS -> if :: segments[i] != 0 -> index = index | segments[i]; sources = sources | bit(i) :: else fi; i++
    :: else -> break
    od;
    i = 0;
  }
  index = index & ~(condemned & ~present);
  createSegment(m, index, ok);
  if
  :: ok ->
    atomic {
      i = 0;
      do
      :: i < SEGMENTS -> if :: (sources & bit(i)) != 0 -> segments[i] = 0 :: else fi; i++
      :: else -> break
      od;
      i = 0;
      check()
    };
    endSession(m)
  :: else
  fi;
merged:
  sources = 0
}

proctype Merger(byte m) {
  byte condemned, index, i, sources, found;
  bool ok;
  merge(MERGE_SESSION(m))
}

/* A copy of the blob, in the index. */
inline copy() {
  newPack(pack);
  atomic { segmentCount < SEGMENTS; segments[segmentCount] = pack; segmentCount++ }
}

proctype Collector(byte c) {
  byte known, condemned, index, i, there, pack, victims, reached, round, s, released, found, sources, seen;
#ifdef NO_LIST_BEFORE_SESSIONS
  byte old;
#endif
  bool ok;

  do
  :: round < ROUNDS ->
    round++;
    /* Mark, and condemn. */
    atomic { known = listCount; condemned = lists[known] };
    reached = records;
    readIndex(index);
    there = present;
    atomic {
      /* Any choice of packs that are there, indexed or not. */
      victims = 0;
      i = 0;
      do
      :: i < PACKS ->
        if
        :: (there & ~condemned & bit(i)) != 0 -> victims = victims | bit(i)
        :: skip
        fi;
        i++
      :: else -> break
      od;
      i = 0;
    }
    released = 0;
#ifdef TIDY
    /* What is gone from the bucket and the index leaves the list, when nobody is left who could still write a row for it. */
    released = condemned & ~there & ~index;
    if
    :: released != 0 ->
#ifndef NO_SETTLING_BEFORE_RELEASE
      settle(sessions);
#endif
      readIndex(index);
      released = released & ~index
    :: else
    fi;
#endif
    if
    :: victims == 0 && released == 0 -> goto sweep
    :: else
    fi;
    if
    :: reached != 0 && (index & there & ~condemned & ~victims) == 0 -> /* a choice that leaves a copy: what is to be rewritten was copied */
      if
      :: (index & there) == 0 -> goto sweep
      :: else -> copy()
      fi
    :: else
    fi;
#ifdef NO_LIST_BEFORE_SESSIONS
    old = sessions;
#endif
    atomic {
#ifdef NO_ELECTION
      if
      :: listCount != known -> lists[known + 1] = (condemned & ~released) | victims
      :: else -> listCount < LISTS; listCount++; lists[listCount] = (condemned & ~released) | victims
      fi;
#else
      if :: listCount != known -> goto sweep :: else fi;
      listCount < LISTS;
      listCount++;
      lists[listCount] = (condemned & ~released) | victims;
#endif
      i = 0;
      do
      :: i < PACKS -> if :: (victims & bit(i)) != 0 -> since[i] = known + 1 :: else fi; i++
      :: else -> break
      od;
      i = 0
    };
sweep:
    /* Sweep what any list has condemned for long enough. */
    if
    :: listCount == 0 -> goto next
    :: else -> s = listCount
    :: listCount > 1 -> s = 1
    fi;
#ifndef NO_SESSION
    if
    :: (witnessed & bit(s)) == 0 ->
#ifdef NO_LIST_BEFORE_SESSIONS
      atomic { witnesses[s] = old; witnessed = witnessed | bit(s) }
#else
      atomic { witnesses[s] = sessions; witnessed = witnessed | bit(s) }
#endif
    :: else
    fi;
#endif
#ifdef NO_MARK_AFTER_SETTLING
    atomic { known = listCount; condemned = lists[known] };
    reached = records;
    settle(witnesses[s]);
#else
    settle(witnesses[s]);
    atomic { known = listCount; condemned = lists[known] };
    reached = records;
#endif
    readIndex(index);
    there = present;
#ifdef NO_SECOND_MARK
    reached = 0;
#endif
    d_step {
      /* All that list s and those before it have condemned. */
      i = 0;
      victims = 0;
      do
      :: i < PACKS -> if :: (condemned & bit(i)) != 0 && since[i] <= s -> victims = victims | bit(i) :: else fi; i++
      :: else -> break
      od;
      i = 0
    };
    if
    :: reached != 0 && (index & there & ~condemned) == 0 ->
      if
      :: (index & there) == 0 -> goto next
      :: else -> copy()
      fi
    :: else
    fi;
    atomic { present = present & ~victims; check() };
#ifdef TIDY
    merge(MERGE_SESSION(MERGERS + c));
#endif
next:
    victims = 0; reached = 0; index = 0; there = 0; pack = 0; released = 0; condemned = 0; known = 0; s = 0
  :: else -> break
  od
}

init {
  byte n;
  atomic {
#ifdef EMPTY
    present = 0;
    records = 0;
    packCount = 0;
#else
    segments[0] = 1;
#endif
    n = 0;
    do :: n < WRITERS -> run Writer(n); n++ :: else -> break od;
    n = 0;
    do :: n < COLLECTORS -> run Collector(n); n++ :: else -> break od;
    n = 0;
    do :: n < MERGERS -> run Merger(n); n++ :: else -> break od;
    run Deleter();
    n = 0
  }
}
