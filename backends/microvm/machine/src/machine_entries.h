// MachineEntries: what the supervisor has put beside the job of a machine - its words (inside.h) on
// their way to the guest, and the guest's back.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "writ/backends/microvm/guest_client.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

class MachineEntries {
 public:
  // `socket`: the supervisor's, borrowed.
  explicit MachineEntries(int socket) : socket_(socket) {}

  // Whether it was a word for this.
  bool OnWord(GuestClient& client, std::string_view word, std::vector<UniqueFd>& fds);

 private:
  void Enter(GuestClient& client, std::uint64_t id, std::vector<UniqueFd> fds);
  int socket_;
};

}  // namespace writ::backends::microvm
