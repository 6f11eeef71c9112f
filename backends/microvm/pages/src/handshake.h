// The first words of a VMM: its userfaultfd and where its guest's memory is (guest_regions.h).
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "fault_server.h"
#include "writ/backends/microvm/pages/guest_regions.h"
#include "writ/backends/microvm/pages/words.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm::pages {

struct Shaken {
  UniqueFd uffd;
  GuestRegions regions;
  UniqueFd stream;  // where a byte is awaited (Serve::By::kStream); empty for a listener
  pid_t pid = 0;    // 0: not in this process's namespace
  UniqueFd pidfd;   // none where there is no pid
};

// Waits for it on `socket`, as long as it takes or until `stop`: kCancelled. One connection, one
// message, one descriptor. The peer is who the kernel says (SO_PEERCRED of a connection; for a
// stream that was made as a pair, SCM_CREDENTIALS of the message): of another uid, kDenied
// "pages.peer". Blocks, be it that the other side has switched the socket to that: only in a thread
// that a signal may interrupt.
Result<Shaken> ShakeHands(Serve::By by, UniqueFd socket, uid_t uid, std::uint64_t memory_bytes,
                          const StopSign& stop);

// Whether a descriptor from an owner is what it says, and ready for ShakeHands.
Status PrepareSocket(Serve::By by, int socket);

// Goes on: for who waits for it.
Status SayGo(int stream);

}  // namespace writ::backends::microvm::pages
