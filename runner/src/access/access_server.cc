#include "access/access_server.h"

#include <poll.h>
#include <pwd.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <vector>

#include "access/access_socket.h"
#include "writ/base/log.h"
#include "writ/base/unix_socket.h"

namespace writ::runner {
namespace {

constexpr int kAskLimitMs = 5'000;
constexpr int kNoDescriptorMs = 200;

Status Fail(AccessChannel& channel, const Error& error, int hurry_fd) {
  return channel.Send(AccessWord::kFailed,
                      json::Write(json::Object{{"code", error.code},
                                               {"message", json::ToWellFormedUtf8(error.message)},
                                               {"hint", json::ToWellFormedUtf8(error.hint)}}),
                      hurry_fd);
}

// Who asks, as the kernel tells: the name is for people, the number is what counts.
protocol::Actor ActorOf(uid_t uid) {
  char buffer[4096];
  passwd entry{};
  passwd* found = nullptr;
  std::string name;
  if (::getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found != nullptr)
    name = found->pw_name;
  char host[256] = {};
  (void)::gethostname(host, sizeof host - 1);
  const std::string id = (name.empty() ? "uid" : name) + "(" + std::to_string(uid) + ")@" + host;
  return {protocol::ActorKind::kHuman, json::ToWellFormedUtf8(id)};
}

// The first message, which has to come soon.
Result<AccessRequest> ReadRequest(AccessChannel& channel, int stop) {
  const auto bound = std::chrono::steady_clock::now() + std::chrono::milliseconds(kAskLimitMs);
  for (;;) {
    WRIT_ASSIGN(const bool open, channel.Fill());
    WRIT_ASSIGN(std::optional<AccessMessage> message, channel.Next());
    if (message && message->word != AccessWord::kAsk)
      return Error{ErrorKind::kInvalid, "access.bad_message", "nothing was asked for"};
    if (message) return AccessRequest::Parse(message->bytes);
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(bound - std::chrono::steady_clock::now())
            .count();
    pollfd fds[2] = {{channel.fd(), POLLIN, 0}, {stop, POLLIN, 0}};
    if (!open || left <= 0 || ::poll(fds, 2, static_cast<int>(left)) == 0 || fds[1].revents != 0)
      return Error{ErrorKind::kUnavailable, "access.silent", "nothing was asked for in time"};
  }
}

}  // namespace

AccessServer::AccessServer() : stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

AccessServer::~AccessServer() {
  ::eventfd_write(stop_.get(), 1);
  if (thread_.joinable()) thread_.join();
  std::list<Caller> callers;
  {
    std::lock_guard lock(mutex_);
    callers.swap(callers_);
  }
  for (Caller& caller : callers) caller.thread.join();
}

Status AccessServer::Listen(int state_dir) {
  std::lock_guard lock(mutex_);
  if (listener_) return {};
  auto listener = ListenAtUnixPath(SocketPathIn(state_dir, kAccessSocket), 0600);
  if (!listener)
    return SysError(listener.error().sys_errno, "access.listen",
                    "the way into sessions cannot be served in the state directory");
  listener_ = std::move(*listener);
  thread_ = std::thread([this] { Run(); });
  return {};
}

void AccessServer::Run() {
  for (;;) {
    pollfd fds[2] = {{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0 && errno != EINTR) return;
    if (fds[1].revents != 0) return;
    if (fds[0].revents == 0) continue;
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    JoinThoseOver();
    if (!socket) {  // no descriptors are left: the listener would wake us at once
      if (::poll(&fds[1], 1, kNoDescriptorMs) > 0) return;
      continue;
    }
    std::lock_guard lock(mutex_);
    if (callers_.size() >= kMaxAccessCallers) {
      AccessChannel channel(std::move(socket));
      (void)Fail(channel,
                 {.code = "access.busy", .message = "too many are in sessions of this runner"},
                 stop_.get())
          .has_value();
      continue;
    }
    Caller& caller = callers_.emplace_back();
    caller.thread = std::thread([this, &caller, raw = socket.release()] {
      Serve(UniqueFd(raw));
      std::lock_guard lock_end(mutex_);
      caller.over = true;
    });
  }
}

void AccessServer::JoinThoseOver() {
  std::vector<std::thread> over;
  {
    std::lock_guard lock(mutex_);
    for (auto at = callers_.begin(); at != callers_.end();) {
      if (!at->over) {
        ++at;
        continue;
      }
      over.push_back(std::move(at->thread));
      at = callers_.erase(at);
    }
  }
  for (std::thread& thread : over) thread.join();
}

void AccessServer::Serve(UniqueFd socket) {
  auto peer = PeerOf(socket.get());
  AccessChannel channel(std::move(socket));
  if (!peer || (peer->uid != ::geteuid() && peer->uid != 0)) {
    log::Warn("access.refused", "somebody else asked for a way into a session",
              {{"uid", peer ? std::to_string(peer->uid) : "unknown"}});
    (void)Fail(channel,
               {.code = "access.other_user", .message = "these sessions are another user's"},
               stop_.get())
        .has_value();
    return;
  }
  auto request = ReadRequest(channel, stop_.get());
  if (!request) {
    (void)Fail(channel, request.error(), stop_.get()).has_value();
    return;
  }
  AccessDoor* door = nullptr;
  {
    std::lock_guard lock(mutex_);
    auto at = doors_.find(request->run_id);
    if (at != doors_.end() && !at->second.closing) {
      door = at->second.door;
      ++at->second.inside;
    }
  }
  if (door == nullptr) {
    (void)Fail(channel,
               {.code = "access.no_such_run",
                .message = "no job of that run is running here",
                .hint = "writ runner status lists what is in work"},
               stop_.get())
        .has_value();
    return;
  }
  door->Serve(*request, channel, ActorOf(peer->uid));
  std::lock_guard lock(mutex_);
  --doors_[request->run_id].inside;
  left_.notify_all();
}

void AccessServer::Open(const std::string& run_id, AccessDoor& door) {
  std::lock_guard lock(mutex_);
  doors_[run_id] = Door{.door = &door};
}

void AccessServer::Close(const std::string& run_id) {
  std::unique_lock lock(mutex_);
  auto at = doors_.find(run_id);
  if (at == doors_.end()) return;
  at->second.closing = true;
  at->second.door->Hurry();
  left_.wait(lock, [&] { return at->second.inside == 0; });
  doors_.erase(at);
}

}  // namespace writ::runner
