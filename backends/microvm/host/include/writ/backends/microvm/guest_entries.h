// GuestEntries: what is put beside a guest's job, seen from its host (entry_words.h). One thread,
// the event loop's; every callback comes from there.
//
// The guest may lie about each of them - what it wrote, how it ended, or that it ended at all -,
// and about nothing else: its words are heard in their turn, of bounded length, and an end is
// passed on once what came before it has been written. What it never ends lasts until whoever asked
// for it goes, or the session does; kMaxGuestEntries bound what there can be at once.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "writ/backends/microvm/entry_words.h"
#include "writ/backends/microvm/session.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

inline constexpr std::size_t kMaxGuestEntries = 16;

struct GuestEntryFds {
  UniqueFd in;     // what it reads
  UniqueFd out;    // what it writes goes here
  UniqueFd err;    // empty where it has a terminal
  UniqueFd sizes;  // of its terminal: one TerminalSize a datagram; else empty
};

class GuestEntries {
 public:
  struct Events {
    std::function<void()> on_started;
    std::function<void(const EntryFailed&)> on_failed;  // instead of all else
    // Once, after on_started, and with all that it wrote before.
    std::function<void(const ExitStatus&)> on_ended;
  };
  // `broken` is told of a guest that does not keep to its turn; the owner ends it all then.
  GuestEntries(EventLoop& loop, Session& session, std::function<void(const std::string&)> broken)
      : loop_(loop), session_(session), broken_(std::move(broken)) {}
  ~GuestEntries();
  GuestEntries(const GuestEntries&) = delete;
  GuestEntries& operator=(const GuestEntries&) = delete;

  // kOverloaded: too many at once. kConflict: an id that is in use.
  Status Enter(std::uint64_t id, launch::EntryRequest request, GuestEntryFds fds, Events events);
  void Signal(std::uint64_t id, int signal);
  std::size_t size() const { return entries_.size(); }

 private:
  struct One;
  Status OnWord(const std::shared_ptr<One>& one, std::string_view bytes);
  void MaybeEnded(const std::shared_ptr<One>& one);
  void Close(const std::shared_ptr<One>& one);

  EventLoop& loop_;
  Session& session_;
  std::function<void(const std::string&)> broken_;
  std::map<std::uint64_t, std::shared_ptr<One>> entries_;
};

}  // namespace writ::backends::microvm
