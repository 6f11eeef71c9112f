// Cleaner: deletes bulk files of finished sessions in the background, off the critical path (L37:
// isolation is gone before the receipt, only files go later). It renames into trash/ first, so that
// a name is free at once, and only ever deletes below its own root, by single names (L13).
// Thread-safe.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::runner {

class Cleaner {
 public:
  // `sessions` and `trash` are handles of folders on one file system. Deletes at once what earlier
  // processes left in trash.
  Cleaner(UniqueFd sessions, UniqueFd trash);
  ~Cleaner();  // finishes what is queued
  Cleaner(const Cleaner&) = delete;
  Cleaner& operator=(const Cleaner&) = delete;

  void Discard(const std::string& session_name);
  // One folder of a session whose others are still needed.
  void DiscardPart(const std::string& session_name, const std::string& folder);
  void WaitIdle();

 private:
  void Trash(int parent, const std::string& entry, const std::string& as);
  void Run(std::stop_token stop);
  UniqueFd sessions_, trash_;
  std::mutex mutex_;  // guards queue_ and busy_
  std::condition_variable_any changed_;
  std::deque<std::string> queue_;
  bool busy_ = false;
  std::jthread thread_;
};

}  // namespace writ::runner
