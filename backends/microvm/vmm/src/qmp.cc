#include "qmp.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "monitor_process.h"

namespace writ::backends::microvm {
namespace {

constexpr std::size_t kMaxLine = 256 * 1024;

Error Gone() {
  return Error{ErrorKind::kUnavailable, "microvm.qmp_gone", "the machine's control is gone"};
}

}  // namespace

Qmp::Qmp(EventLoop& loop, UniqueFd fd,
         std::function<void(std::string_view, const json::Value&)> on_event, Greeting greeting,
         std::function<void()> on_gone)
    : loop_(loop),
      fd_(std::move(fd)),
      on_event_(std::move(on_event)),
      on_gone_(std::move(on_gone)),
      greeted_(greeting == Greeting::kTaken) {
  ::fcntl(fd_.get(), F_SETFL, O_NONBLOCK);
  watch_ = loop_.Add(fd_.get(), POLLIN, [this](short) { OnReady(); });
  if (!greeted_) Execute("qmp_capabilities", {}, [](Status) {});
}

Qmp::~Qmp() {
  loop_.Remove(watch_);
}

void Qmp::Execute(const std::string& command, json::Object arguments,
                  std::function<void(Status)> done, UniqueFd fd) {
  if (!fd_) return done(Gone());
  json::Object object{{"execute", command}};
  if (!arguments.empty()) object.Set("arguments", std::move(arguments));
  waiting_.push_back({json::Write(std::move(object)) + "\n", std::move(fd), std::move(done)});
  SendNext();
}

// A command is shorter than any socket's buffer, and there is one at a time.
void Qmp::SendNext() {
  if (!greeted_ || in_flight_ || waiting_.empty() || !fd_) return;
  in_flight_ = true;
  const Waiting& next = waiting_.front();
  if (!SendWithFds(fd_.get(), next.line,
                   next.fd ? std::vector<int>{next.fd.get()} : std::vector<int>()))
    Close();
}

void Qmp::OnReady() {
  std::array<char, 16 * 1024> buffer{};
  const ssize_t count = ::read(fd_.get(), buffer.data(), buffer.size());
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) return Close();
  held_.append(buffer.data(), static_cast<std::size_t>(count));
  for (std::size_t end = held_.find('\n'); end != std::string::npos; end = held_.find('\n')) {
    std::string line = held_.substr(0, end);
    held_.erase(0, end + 1);
    while (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty() && !OnLine(line)) return Close();
    if (!fd_) return;
  }
  if (held_.size() > kMaxLine) Close();
}

bool Qmp::OnLine(std::string_view line) {
  auto value = json::Parse(line, {.max_depth = 16, .max_bytes = kMaxLine});
  if (!value || !value->is_object()) return false;
  if (value->Find("QMP") != nullptr) {
    greeted_ = true;
    SendNext();
    return true;
  }
  if (auto event = value->FindString("event")) {
    const json::Value* data = value->Find("data");
    on_event_(*event, data != nullptr ? *data : json::Value());
    return true;
  }
  if (!in_flight_ || waiting_.empty()) return false;
  in_flight_ = false;
  auto done = std::move(waiting_.front().done);
  waiting_.pop_front();
  if (const json::Value* error = value->Find("error"))
    done(Error{
        ErrorKind::kUnavailable, "microvm.qmp_refused",
        "the monitor refused: " + Printable(error->FindString("desc").value_or("no reason"))});
  else
    done({});
  SendNext();
  return true;
}

void Qmp::Abandon() {
  loop_.Remove(watch_);
  fd_.reset();
  waiting_.clear();
}

UniqueFd Qmp::GiveAway() {
  if (in_flight_ || !waiting_.empty() || !held_.empty()) return {};
  loop_.Remove(watch_);
  return std::move(fd_);
}

void Qmp::Close() {
  loop_.Remove(watch_);
  fd_.reset();
  // The last thing here: we may be gone after it.
  const std::function<void()> gone = std::exchange(on_gone_, nullptr);
  for (Waiting& one : std::exchange(waiting_, {})) one.done(Gone());
  if (gone) gone();
}

}  // namespace writ::backends::microvm
