// GuestEntry: one thing that the host has put beside the job (entry_words.h), as the guest's own
// backend holds it. Made and told by the loop's thread; a thread of its own waits until it runs,
// because Job::Enter blocks.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "writ/backends/backend.h"
#include "writ/backends/microvm/entry_words.h"
#include "writ/backends/microvm/frames.h"
#include "writ/backends/microvm/relay.h"
#include "writ/backends/microvm/session.h"

namespace writ::backends::microvm {

class GuestEntry : public std::enable_shared_from_this<GuestEntry> {
 public:
  // `gone` is called once, when the host has given it up or was told its end: nothing of it runs
  // then that the session does not end anyway.
  // `checkpoint` begins one of the job that runs.
  using Checkpoint = std::function<Result<std::unique_ptr<Entry>>()>;
  GuestEntry(EventLoop& loop, std::shared_ptr<Job> job, Checkpoint checkpoint,
             std::function<void()> gone)
      : loop_(loop),
        job_(std::move(job)),
        checkpoint_(std::move(checkpoint)),
        gone_(std::move(gone)) {}
  ~GuestEntry();
  GuestEntry(const GuestEntry&) = delete;
  GuestEntry& operator=(const GuestEntry&) = delete;

  void Begin(const std::shared_ptr<Stream>& control);
  // One of its three: "in", "out", "err". False: there is none of that name.
  bool Take(std::string_view name, const std::shared_ptr<Stream>& stream);

 private:
  Status OnWord(std::string_view bytes);
  void Start(EntryPlan plan);
  void OnEntered(Result<std::unique_ptr<Entry>> entered);
  void Carry();
  void OnEnd();
  void Say(const EntryGuestWord& word);
  void Gone();

  EventLoop& loop_;
  std::shared_ptr<Job> job_;  // outlives what is beside it
  Checkpoint checkpoint_;
  std::function<void()> gone_;
  std::shared_ptr<Stream> control_;
  std::shared_ptr<Stream> in_, out_, err_;
  std::shared_ptr<RelayCount> out_count_ = std::make_shared<RelayCount>();
  std::shared_ptr<RelayCount> err_count_ = std::make_shared<RelayCount>();
  FrameReader frames_{kMaxEntryOrderBytes + 64};
  bool ordered_ = false;
  bool terminal_ = false;
  std::vector<int> signals_;  // that came before it ran
  std::unique_ptr<Entry> entry_;
  EventLoop::WatchId ended_ = 0;
  std::jthread starting_;
};

}  // namespace writ::backends::microvm
