// EntryRelay: carries bytes between a caller and what it has put into a session, until that has
// ended or the caller has gone.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "writ/backends/entry.h"
#include "writ/base/result.h"
#include "writ/runner/access.h"

namespace writ::runner {

class EntryRelay {
 public:
  // Sees every piece before it is passed on; an error ends the use with it. May be empty.
  using Look = std::function<Status(std::string_view)>;
  // All borrowed. `hurry_fd`: readable once the session is over.
  EntryRelay(backends::Entry& entry, AccessChannel& channel, int hurry_fd)
      : entry_(entry), channel_(channel), hurry_fd_(hurry_fd) {}
  void LookAt(Look input, Look output) {
    look_input_ = std::move(input);
    look_output_ = std::move(output);
  }

  // Its end; an error is that of the caller's side (access.gone: it has left) or of a Look.
  Result<backends::EntryEnd> Run();

  std::uint64_t bytes_in() const { return bytes_in_; }
  std::uint64_t bytes_out() const { return bytes_out_; }

 private:
  Status OnCaller();
  Status OnMessage(const AccessMessage& message);
  Status GiveInput();
  Status TakeOutput(int fd, AccessWord word, bool& open);
  Status DrainOutput();

  backends::Entry& entry_;
  AccessChannel& channel_;
  const int hurry_fd_;
  Look look_input_, look_output_;
  std::string pending_;      // input that the entry has not taken
  bool input_over_ = false;  // the caller said so
  bool input_open_ = true;
  bool out_open_ = true;
  bool err_open_ = true;
  std::uint64_t bytes_in_ = 0, bytes_out_ = 0;
};

}  // namespace writ::runner
