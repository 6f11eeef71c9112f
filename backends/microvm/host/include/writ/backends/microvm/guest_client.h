// GuestClient: the host's end of one guest, from the first word to its last file.
//
// Everything that comes from the guest is taken as an enemy's: its words are bounded and parsed
// totally, its output and connections are bytes, its changes go through TreeReader. What it says of
// the job's end is believed, because nobody else can know it - and only one of its two tokens makes
// it the guest that was booted.
// One thread, the event loop's; every callback comes from there.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "writ/backends/microvm/guest_entries.h"
#include "writ/backends/microvm/messages.h"
#include "writ/backends/microvm/session.h"
#include "writ/backends/microvm/tree_stream.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

struct GuestTokens {
  std::string host;  // 64 hex digits
  std::string guest;
  static GuestTokens Make();
};

struct GuestFds {
  UniqueFd out;  // the job's stdout and stderr go here
  UniqueFd err;
};

class GuestClient {
 public:
  struct Events {
    std::function<void()> on_prepared;  // only the start is missing
    std::function<void()> on_started;
    std::function<void(const Refused&)> on_refused;  // at most kMaxRefusedRecords
    // The job has ended, and its output has been written whole.
    std::function<void(const Ended&)> on_ended;
    // After FetchChanges: whether they are all in the workspace.
    std::function<void(Status)> on_changes;
    // A connection of the job's: where it goes to. An empty one refuses it. May be empty.
    std::function<UniqueFd()> connect;
    // Once, instead of all that is still to come: the guest cannot be used any more.
    std::function<void(const std::string&)> on_lost;
  };
  GuestClient(EventLoop& loop, GuestTokens tokens, Events events);
  ~GuestClient();
  GuestClient(const GuestClient&) = delete;
  GuestClient& operator=(const GuestClient&) = delete;

  // Greets the guest, makes it this run's own (L33), and has it prepare the job.
  Status Begin(UniqueFd channel, JobOrder order, GuestFds fds);
  // Instead of Begin: greets the guest, has it run commands one after the other, as root, and makes
  // it ready for a snapshot; `on_quiesced` is told when it has written all it had and its channel
  // begins anew. A command that does not end with 0 is the guest's loss. Tokens stay as they are:
  // clones are greeted with them. The client is kept until the machine is paused - a guest that
  // loses its host ends.
  struct Quiescing {
    std::vector<std::string> warm_up = {};             // each for the guest's /bin/sh
    std::function<void(std::size_t)> on_warm_up = {};  // the how manieth begins; may be empty
    std::function<void()> on_quiesced;
  };
  Status BeginQuiesce(UniqueFd channel, Quiescing quiescing);
  void Start(Go go);
  void Cancel();
  // After Start, of a job with a terminal: what is typed there, and one TerminalSize a datagram.
  void OpenTerminal(UniqueFd in, UniqueFd sizes);
  // Between on_started and on_ended; else kConflict.
  Status Enter(std::uint64_t id, launch::EntryRequest request, GuestEntryFds fds,
               GuestEntries::Events events);
  void SignalEntry(std::uint64_t id, int signal);
  // Around a pause of the machine. The guest is to hold its job: `held` is called when it says so,
  // and after a bound all the same; from then on no sign of life is asked for. Then it is given the
  // time, with which its job goes on, and `set` is called when it has taken it. A guest that does
  // not take it within a bound is lost.
  void HoldStill(std::function<void()> held);
  void GoOn(std::function<void()> set);
  void FetchChanges(UniqueFd workspace, TreeLimits limits);
  // What the guest says of itself, after on_prepared.
  const Hello& hello() const { return hello_; }
  // The machine's own, which it has taken: random for each client.
  const std::string& host_name() const { return host_name_; }
  // What it is asked with: its own, once it has taken its identity; of its boot until then.
  const std::string& token() const { return tokens_.host; }

 private:
  using StreamPtr = std::shared_ptr<Stream>;
  Status Greet(UniqueFd channel);
  // One question, one bounded answer.
  void Ask(std::string_view path, std::string question, std::function<void(std::string)> answered);
  void OnHello(const std::string& answer);
  void WarmUpNext(std::size_t index);
  void SendIdentity();
  void OnIdentityTaken(const std::string& answer);
  void SendJob();
  Status OnWord(std::string_view bytes);
  void Offer();  // one more stream for a connection of the job's
  void Listen(std::string_view path, UniqueFd fd);
  void MaybeEnded();
  void OnHeld();
  void Watch();
  void Lost(const std::string& why);

  EventLoop& loop_;
  GuestTokens tokens_;
  Events events_;
  JobOrder order_;
  GuestFds fds_;
  Hello hello_;
  std::string host_name_;
  std::string machine_id_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<GuestEntries> entries_;
  UniqueFd sizes_;  // of the job's terminal
  EventLoop::WatchId sizes_watch_ = 0;
  std::function<void()> held_;       // while a guest is asked to hold its job
  std::function<void()> clock_set_;  // while it is asked to take the time
  std::size_t holds_ = 0;            // asked for, and not answered yet
  EventLoop::WatchId turn_bound_ = 0;
  StreamPtr job_;
  std::optional<Quiescing> quiescing_;  // none: for a job
  std::optional<Ended> ended_;
  int outputs_open_ = 0;
  bool end_told_ = false;
  bool lost_ = false;
  bool alive_ = true;  // since the last look
  std::size_t refused_ = 0;
  std::size_t offers_ = 0;
  std::size_t given_back_ = 0;
  std::size_t connections_ = 0;
  EventLoop::WatchId pulse_ = 0;
};

}  // namespace writ::backends::microvm
