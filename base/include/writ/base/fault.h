// Fault points: places where a build made for it (CMake option WRIT_FAULTS) can be told to die, to
// stand still or to fail, so that tests/fault can show what is left then.
//
// The table below is the list (`writ --list-faults`); a name that is not in it does not compile,
// and the fault suite kills at every one of them. WRIT_FAULT=NAME:kill|stall|fail[:NTH] in the
// environment chooses one; NTH counts arrivals from 1. In all other builds the macros are empty.
#pragma once

#include <cstddef>
#include <iterator>
#include <string_view>

#include "writ/base/result.h"

namespace writ::fault {

inline constexpr std::string_view kPoints[] = {
    // Steps of a session (runner/src/session).
    "session.verify.before",
    "session.verify.after",
    "session.decide.before",
    "session.decide.after",
    "session.before-run.before",
    "session.before-run.after",
    "session.spawn.before",
    "session.spawn.after",
    "session.materialize.before",
    "session.materialize.after",
    "session.prepare.before",
    "session.prepare.after",
    "session.hide.before",
    "session.hide.after",
    "session.proxy.before",
    "session.proxy.after",
    "session.secrets.before",
    "session.secrets.after",
    "session.start.before",
    "session.start.after",
    "session.watch.before",
    "session.watch.after",
    "session.collect.before",
    "session.collect.after",
    "session.dismantle.before",
    "session.dismantle.after",
    "session.after-run.before",
    "session.after-run.after",
    "session.store.before",
    "session.store.after",
    "session.upload.before",
    "session.upload.after",
    "session.conclude.before",
    "session.conclude.after",
    // Writes of the journal (runner/src/journal).
    "journal.begin.before",
    "journal.begin.after",
    "journal.acknowledged.before",
    "journal.acknowledged.after",
    "journal.step.before",
    "journal.step.after",
    "journal.session.before",
    "journal.session.after",
    "journal.prepared.before",
    "journal.prepared.after",
    "journal.started.before",
    "journal.started.after",
    "journal.events.before",
    "journal.events.after",
    "journal.output.before",
    "journal.output.after",
    "journal.collected.before",
    "journal.collected.after",
    "journal.uploaded.before",
    "journal.uploaded.after",
    "journal.token.before",
    "journal.token.after",
    "journal.waiting.before",
    "journal.waiting.after",
    "journal.left.before",
    "journal.left.after",
    "journal.forget_left.before",
    "journal.forget_left.after",
    "journal.park.before",
    "journal.park.after",
    "journal.close.before",
    "journal.close.after",
    // Calls to the plane (runner/src/plane): before it is sent, after its answer came.
    "call.claim.before",
    "call.claim.after",
    "call.acknowledge.before",
    "call.acknowledge.after",
    "call.get_blob.before",
    "call.get_blob.after",
    "call.events.before",
    "call.events.after",
    "call.renew.before",
    "call.renew.after",
    "call.log.before",
    "call.log.after",
    "call.put_blob.before",
    "call.put_blob.after",
    "call.put_piece.before",
    "call.put_piece.after",
    "call.complete.before",
    "call.complete.after",
    "call.late.before",
    "call.late.after",
    "call.rotate.before",
    "call.rotate.after",
    // What the next start does with runs that it finds (runner/src/engine/recovery.cc).
    "recovery.found",
    "recovery.ended",
    "recovery.closed",
    // The plane, between what it has done and its answer.
    "plane.claim.committed",
    "plane.acknowledge.committed",
    "plane.events.committed",
    "plane.blob.stored",
    "plane.piece.written",
    "plane.piece.stored",
    "plane.complete.countersigned",
    "plane.complete.committed",
    "plane.lost.signed",
    "plane.lost.committed",
    "plane.late.committed",
    "plane.revoked.committed",
    "plane.rotated.committed",
    // The plane's other signing key, between the files that it changes.
    "plane.key.next",
    "plane.key.manifest",
    "plane.key.private",
    "plane.key.public",
    // The collection of blobs: named in the admin chain, unlinked.
    "plane.gc.recorded",
    "plane.gc.removed",
};

// The place of a name in the table; does not compile for one that is not there.
consteval std::size_t Index(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kPoints); ++i)
    if (kPoints[i] == name) return i;
  throw "not a fault point of the table";
}

// What is to happen at a point now: nothing (a value), or an error that the caller passes on as if
// the step had failed (code "fault.injected"). Only in builds with WRIT_FAULTS.
Status Reach(std::size_t point);

// Reads WRIT_FAULT anew, which is else read at the first point: for a test's forked process, before
// it has threads.
void ReadOrderAgain();

}  // namespace writ::fault

// WRIT_FAULT(name): here one can die or stand still. WRIT_FAULT_TRY(name): or fail, in functions
// that return a Result. The _AT forms take an Index().
#ifdef WRIT_FAULTS
#define WRIT_FAULT_AT(index) (void)::writ::fault::Reach(index)
#define WRIT_FAULT_AT_TRY(index) WRIT_TRY(::writ::fault::Reach(index))
#else
#define WRIT_FAULT_AT(index) static_cast<void>(index)
#define WRIT_FAULT_AT_TRY(index) static_cast<void>(index)
#endif
#define WRIT_FAULT(name) WRIT_FAULT_AT(::writ::fault::Index(name))
#define WRIT_FAULT_TRY(name) WRIT_FAULT_AT_TRY(::writ::fault::Index(name))
