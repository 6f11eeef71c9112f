#include "writ/backends/job/launched_stillness.h"

#include <sys/socket.h>

#include <chrono>
#include <string>

namespace writ::backends {
namespace {

// A monitor has 10 s, a guest 60 for taking the time.
constexpr std::chrono::seconds kBound{80};

Error NotRunning() {
  return Error{ErrorKind::kConflict, "job.not_running", "the job does not run (any more)"};
}

}  // namespace

void LaunchedStillness::Open(int control) {
  std::lock_guard lock(mutex_);
  control_ = control;
}

void LaunchedStillness::Close() {
  std::lock_guard lock(mutex_);
  control_ = -1;
  still_ = false;
  answered_.notify_all();
}

bool LaunchedStillness::still() const {
  std::lock_guard lock(mutex_);
  return still_;
}

Status LaunchedStillness::Turn(To to) {
  const bool stand = to == To::kStill;
  std::unique_lock lock(mutex_);
  if (control_ < 0) return NotRunning();
  if (waiting_)
    return Error{ErrorKind::kConflict, "job.turning", "it is being paused or resumed already"};
  if (stand == still_)
    return stand ? Error{ErrorKind::kConflict, "job.paused", "it is paused already",
                         "writ resume RUN"}
                 : Error{ErrorKind::kConflict, "job.not_paused", "it is not paused"};
  const std::string bytes = launch::EncodeMessage(stand ? launch::Message(launch::PauseMessage{})
                                                        : launch::Message(launch::ResumeMessage{}));
  answer_.reset();
  if (::send(control_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
    return NotRunning();
  waiting_ = true;
  const bool heard = answered_.wait_for(lock, kBound, [this] { return answer_ || control_ < 0; });
  waiting_ = false;
  if (!heard)
    return Error{ErrorKind::kUnavailable, "job.no_answer",
                 "its machine did not answer within " + std::to_string(kBound.count()) + " s"};
  if (!answer_) return NotRunning();
  if ((answer_->still != 0) == stand && answer_->why.empty()) return {};
  return Error{ErrorKind::kConflict, "job.not_turned", answer_->why};
}

void LaunchedStillness::OnMessage(const launch::Message& message) {
  const auto* still = std::get_if<launch::StillMessage>(&message);
  if (still == nullptr) return;
  std::lock_guard lock(mutex_);
  still_ = still->still != 0;
  answer_ = *still;
  for (char& c : answer_->why)  // from a process in the machine's jail
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) c = ' ';
  answered_.notify_all();
}

}  // namespace writ::backends
