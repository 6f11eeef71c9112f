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

// From root: capability bounding set, supplementary groups, gid, uid, inheritable set - then reads
// everything back, and that uid 0 cannot be had again. Refuses uid or gid 0. Async-signal-safe,
// single-threaded callers only.
DropFailure DropIdentity(uid_t uid, gid_t gid);

// From an ordinary user: nothing to drop but the inheritable set; checks that we are that user and
// hold no capability.
DropFailure CheckIdentity(uid_t uid, gid_t gid);

// In a user namespace that maps these two ids alone: becomes them and keeps the namespace's
// capabilities, which it needs to set the namespace up. Groups of an ordinary user stay (the kernel
// lets nobody drop them in such a namespace); they mean nothing inside.
DropFailure BecomeMapped(uid_t uid, gid_t gid);

// gVisor's kernel has neither an ambient set nor securebits: there is nothing to clear and lock.
enum class CapabilityRules { kLinux, kGvisor };

// The end of the set-up in a user namespace: bounding set, ambient set, securebits locked, all
// capabilities; then reads everything back as above.
DropFailure DropCapabilities(uid_t uid, gid_t gid, CapabilityRules rules);

}  // namespace writ::backends
