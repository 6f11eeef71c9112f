// What a guest can send its host. The first byte says as what the rest is read: a session's frames,
// the words of a job, or its changes, which never leave their directory.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "writ/backends/microvm/entry_words.h"
#include "writ/backends/microvm/messages.h"
#include "writ/backends/microvm/session.h"
#include "writ/backends/microvm/tree_contents.h"
#include "writ/backends/microvm/tree_stream.h"
#include "writ/base/paths.h"

namespace {

using namespace writ::backends::microvm;

void ReadSession(std::string_view bytes) {
  EventLoop loop;
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return;
  writ::UniqueFd guest(fds[1]);
  bool closed = false;
  Session::Events events;
  events.on_closed = [&](const std::string& why) {
    if (why.empty()) std::abort();
    closed = true;
    loop.Stop();
  };
  auto session =
      Session::Make(loop, writ::UniqueFd(fds[0]), Session::Side::kHost, "token", std::move(events));
  if (!session) std::abort();
  auto stream = (*session)->Request("/job");
  if (!stream) std::abort();
  std::size_t held = 0;
  (*stream)->on_bytes = [&](std::string_view more) { held += more.size(); };
  // Once the request has come: before that there is no stream to be spoken of.
  EventLoop::WatchId asked = 0;
  asked = loop.Add(guest.get(), POLLIN, [&](short) {
    loop.Remove(asked);
    (void)!::send(guest.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    ::shutdown(guest.get(), SHUT_WR);
  });
  loop.Run();
  if (!closed || held > kStreamWindow) std::abort();
}

void ReadWords(std::string_view bytes) {
  if (auto word = DecodeGuestWord(bytes); word && Encode(*word) != bytes) std::abort();
  if (auto hello = DecodeHello(bytes); hello && Encode(*hello) != bytes) std::abort();
  if (auto taken = DecodeIdentityTaken(bytes); taken && Encode(*taken) != bytes) std::abort();
  if (auto metrics = DecodeMetrics(bytes); metrics && Encode(*metrics) != bytes) std::abort();
  if (auto word = DecodeHostWord(bytes); word && Encode(*word) != bytes) std::abort();
  if (auto warmed = DecodeWarmedUp(bytes); warmed && Encode(*warmed) != bytes) std::abort();
  if (auto word = DecodeEntryGuestWord(bytes); word && Encode(*word) != bytes) std::abort();
  if (auto word = DecodeEntryHostWord(bytes)) {
    // A request's absent terminal has a size that is not kept (entry_request.h).
    const std::string again = Encode(*word);
    auto twice = DecodeEntryHostWord(again);
    if (!twice || Encode(*twice) != again) std::abort();
  }
  if (auto command = DecodeWarmUp(bytes); command && Encode(*command) != bytes) std::abort();
}

void ReadChanges(std::string_view bytes) {
  std::string base = "/tmp/writ-fuzz-tree-XXXXXX";
  if (::mkdtemp(base.data()) == nullptr) return;
  auto dir = writ::OpenDirectory(base);
  auto root = dir ? writ::MakeDirectoriesBeneath(dir->get(), "root", 0700) : std::move(dir).error();
  if (!dir || !root) std::abort();
  {
    TreeReader reader(std::move(root).value(), {.bytes = 1u << 20, .entries = 1000});
    (void)reader.Add(bytes).has_value();
    // Who only looks at it takes all that is carried out, and counts the same.
    std::size_t seen = 0;
    TreeContents contents({.bytes = 1u << 20, .entries = 1000},
                          {[] {}, [&](std::string_view more) { seen += more.size(); }});
    const bool read = contents.Add(bytes).has_value();
    if (reader.complete() &&
        (!read || !contents.complete() || contents.entries() != reader.entries()))
      std::abort();
    if (seen > bytes.size()) std::abort();
  }
  std::size_t beside = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(base)) ++beside;
  if (beside != 1) std::abort();
  auto parent = writ::OpenDirectory("/tmp");
  if (!parent || !writ::RemoveTreeBeneath(parent->get(), base.substr(5))) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      ReadSession(bytes);
      break;
    case 1:
      ReadWords(bytes);
      break;
    default:
      ReadChanges(bytes);
  }
  return 0;
}
