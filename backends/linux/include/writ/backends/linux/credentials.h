// Identity of the calling process: given up once, in the only order that works, each step checked
// (L20).
#pragma once

#include <sys/types.h>

namespace writ::backends {

// The step that failed and its errno; step nullptr: done.
struct DropFailure {
  const char* step = nullptr;
  int err = 0;
};

// From root: capability bounding set, supplementary groups, gid, uid - then reads everything back,
// and that uid 0 cannot be had again. Refuses uid or gid 0. Async-signal-safe, single-threaded
// callers only.
DropFailure DropIdentity(uid_t uid, gid_t gid);

// From an ordinary user: nothing to drop; checks that we are that user and hold no capability.
DropFailure CheckIdentity(uid_t uid, gid_t gid);

}  // namespace writ::backends
