#include "session/cleaner.h"

#include <fcntl.h>
#include <stdio.h>

#include "writ/base/encoding.h"
#include "writ/base/folder.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"

namespace writ::runner {

Cleaner::Cleaner(UniqueFd sessions, UniqueFd trash)
    : sessions_(std::move(sessions)), trash_(std::move(trash)) {
  for (std::string& name : NamesIn(trash_.get()).value_or({})) queue_.push_back(std::move(name));
  thread_ = std::jthread([this](std::stop_token stop) { Run(stop); });
}

Cleaner::~Cleaner() {
  WaitIdle();
  thread_.request_stop();
}

void Cleaner::Discard(const std::string& session_name) {
  Trash(sessions_.get(), session_name, session_name);
}

void Cleaner::DiscardPart(const std::string& session_name, const std::string& folder) {
  // A handle: a job with our own uid may have put something else in the session's place (L13).
  Result<UniqueFd> session =
      OpenBeneath(sessions_.get(), session_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (session) return Trash(session->get(), folder, session_name + "." + folder);
  log::Warn("runner.cleanup", "a session's files could not be moved to the trash",
            {{"session", session_name}, {"error", session.error().ToString()}});
}

void Cleaner::Trash(int parent, const std::string& entry, const std::string& as) {
  std::string name = as + "." + HexEncode(RandomBytes(8));
  if (renameat(parent, entry.c_str(), trash_.get(), name.c_str()) != 0) {
    if (errno != ENOENT)
      log::Warn("runner.cleanup", "a session's files could not be moved to the trash",
                {{"entry", as}, {"errno", errno}});
    return;
  }
  std::lock_guard lock(mutex_);
  queue_.push_back(std::move(name));
  changed_.notify_all();
}

void Cleaner::WaitIdle() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return queue_.empty() && !busy_; });
}

void Cleaner::Run(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [&] { return !queue_.empty(); })) {
    std::string name = std::move(queue_.front());
    queue_.pop_front();
    busy_ = true;
    lock.unlock();
    if (Status removed = RemoveTreeBeneath(trash_.get(), name); !removed)
      log::Warn("runner.cleanup", "a session's files could not all be deleted",
                {{"entry", name}, {"error", removed.error().ToString()}});
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace writ::runner
