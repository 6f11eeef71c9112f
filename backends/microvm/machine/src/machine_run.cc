#include "machine_run.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "machine_entries.h"
#include "served_pages.h"
#include "stillness.h"
#include "writ/backends/launch/inside.h"
#include "writ/backends/launch/messages.h"
#include "writ/backends/microvm/cpio.h"
#include "writ/backends/microvm/guest_client.h"
#include "writ/backends/microvm/guest_layout.h"
#include "writ/backends/microvm/tree_image.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends::microvm {
namespace {

constexpr std::uint64_t kFileLimit = 512u << 20;
constexpr std::uint64_t kMaxEnvironmentBytes = 64u << 20;
constexpr int kExecNotFound = 127;
constexpr int kExecRefused = 126;

const std::string kInputsFile = std::string(kMadePlace) + "/inputs.erofs";
const std::string kMonitorPlace = std::string(kMadePlace) + "/vmm";
const std::string kInitramfsFile = std::string(kMadePlace) + "/initramfs";

const std::string kSnapshotDirectory = std::string(kMadePlace) + "/" + kSnapshotName;
const std::string kProgressFile = std::string(kMadePlace) + "/" + kProgressName;
constexpr char kTokensName[] = "tokens";
constexpr std::uint64_t kMaxTokens = 1024;
constexpr std::size_t kHeldFds = 2;  // without the page server's
// Emulated and beside others. What is left of boot_ms is a cold boot's.
constexpr std::chrono::seconds kRestoreBound{60};

std::string TokensText(const GuestTokens& tokens) {
  return tokens.host + "\n" + tokens.guest + "\n";
}

// Wipes the text.
Result<GuestTokens> ReadTokens(std::string text) {
  GuestTokens tokens;
  const auto line = text.find('\n');
  if (line != std::string::npos && text.back() == '\n') {
    tokens.host = text.substr(0, line);
    tokens.guest = text.substr(line + 1, text.size() - line - 2);
  }
  ::explicit_bzero(text.data(), text.size());
  if (tokens.host.size() != 2 * kTokenBytes || tokens.guest.size() != 2 * kTokenBytes)
    return Error{ErrorKind::kIntegrity, "microvm.tokens", "the snapshot's tokens are none"};
  return tokens;
}

// Of the machine that the snapshot was made of; gone once they are read.
Result<GuestTokens> TakeTokens() {
  WRIT_ASSIGN(UniqueFd directory, OpenDirectory(kSnapshotDirectory));
  WRIT_ASSIGN(std::string text, ReadFile(kSnapshotDirectory + "/" + kTokensName, kMaxTokens));
  (void)::unlinkat(directory.get(), kTokensName, 0);
  return ReadTokens(std::move(text));
}

// The image's archive, and behind it one with this boot's tokens alone.
Status MakeInitramfs(const GuestTokens& tokens) {
  WRIT_ASSIGN(std::string bytes, ReadFile(kInitramfsPlace, kFileLimit));
  Cpio cpio;
  cpio.File(kTokenFile + 1, 0400, TokensText(tokens));
  bytes += cpio.Take();
  WRIT_ASSIGN(UniqueFd made, OpenDirectory(kMadePlace));
  return WriteFileAtomic(made.get(), "initramfs", bytes, 0400);
}

launch::EndedMessage FromGuest(const Ended& ended) {
  using Cause = launch::EndedMessage::Cause;
  launch::EndedMessage out;
  out.refused_total = ended.refused_total;
  out.proxied_total = ended.proxied_total;
  const int code = ended.status && !ended.status->signalled ? ended.status->code : 0;
  if (ended.kind == Outcome::Kind::kExited && !ended.reason.empty() &&
      (code == kExecNotFound || code == kExecRefused)) {
    out.cause = Cause::kExecFailed;
    out.exec_errno = code == kExecNotFound ? ENOENT : EACCES;
  } else if (ended.limit) {
    out.cause = Cause::kLimitPassed;
    out.limit = static_cast<std::uint8_t>(static_cast<int>(*ended.limit) + 1);
  } else if (!ended.status && ended.kind != Outcome::Kind::kCancelled) {
    out.cause = Cause::kMachineEnded;
    out.note = "no end of the job was seen in the guest: " + ended.reason;
  }
  return out;
}

class MachineRun {
 public:
  MachineRun(const MachineOrder& order, const launch::LaunchPlan& plan, MachineFds fds)
      : order_(order), plan_(plan), fds_(std::move(fds)) {}

  std::string Run() {
    if (Status begun = Begin(); !begun) return begun.error().ToString();
    loop_.Run();
    if (vmm_) vmm_->Kill();
    return failed_;
  }

 private:
  Status Begin() {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    ::sigprocmask(SIG_BLOCK, &mask, nullptr);
    signals_.reset(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_) return SysError(errno, "microvm.signals", "cannot make a signal descriptor");
    loop_.Add(signals_.get(), POLLIN, [this](short) { OnSignal(); });
    loop_.Add(fds_.socket.get(), POLLIN, [this](short) { OnSupervisor(); });

    WRIT_TRY(MakeInputs());
    boot_bound_ =
        loop_.At(EventLoop::Clock::now() + std::chrono::milliseconds(order_.boot_ms), [this] {
          restoring_ = false;
          OnLost("the guest was not ready after " + std::to_string(order_.boot_ms) + " ms");
        });
    if (order_.start == MachineFrom::kKernel) {
      not_restored_ = order_.not_restored;
      return BeginCold();
    }
    Status begun = order_.start == MachineFrom::kHeld ? BeginAdopted() : BeginRestored();
    if (!begun && order_.purpose == MachinePurpose::kHeld) return begun;
    if (!begun) GiveUpRestoring(begun.error().ToString());
    return {};
  }

  // What is this run's own: where there is a base, of the workspace what is above it.
  Status MakeInputs() const {
    std::vector<ImagePart> parts = {
        {"workspace", order_.job.on_base ? kUpperPlace : kWorkspacePlace}};
    for (std::size_t i = 0; i < order_.job.read_only_trees.size(); ++i)
      parts.push_back({std::to_string(i), std::string(kInputsPlace) + "/" + std::to_string(i)});
    UniqueFd file(::open(kInputsFile.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file) return SysError(errno, "microvm.inputs", "cannot make " + kInputsFile);
    auto made = WriteTreeImage(parts, {kGuestJobUid, kGuestJobUid}, file.get());
    return made ? Status() : Status(std::move(made).error());
  }

  Result<MachineSpec> Spec() const {
    MachineSpec spec;
    // A snapshot's memory is in a file while its machine runs.
    if (order_.kind != VmmKind::kQemu || order_.purpose == MachinePurpose::kSnapshot) {
      WRIT_TRY(MakeDirectories(kMonitorPlace, 0700));
      spec.place = kMonitorPlace;
    }
    spec.vmm = order_.vmm;
    spec.version = order_.version;
    spec.acceleration = order_.acceleration;
    spec.memory_bytes = order_.memory_bytes;
    spec.cpus = static_cast<unsigned>(order_.cpus);
    spec.tsc_khz = order_.tsc_khz;
    spec.kernel = kKernelPlace;
    spec.initramfs = kInitramfsFile;
    spec.root = kRootPlace;
    spec.inputs = kInputsFile;
    spec.base = order_.job.on_base ? kBasePlace : kInputsFile;
    return spec;
  }

  // What a machine's own callbacks say is heard as long as it is the one that we have.
  template <typename Heard>
  auto IfStillThis(Heard heard) {
    return [this, attempt = attempt_, heard = std::move(heard)](auto&&... said) {
      if (attempt == attempt_) heard(std::forward<decltype(said)>(said)...);
    };
  }

  Status BeginCold() {
    tokens_ = GuestTokens::Make();
    WRIT_TRY(MakeInitramfs(tokens_));
    WRIT_ASSIGN(MachineSpec spec, Spec());
    vmm_ = MakeVmm(loop_, order_.kind);
    client_ = std::make_unique<GuestClient>(loop_, tokens_, ClientEvents());
    out_ = {std::move(fds_.out), std::move(fds_.err)};
    if (order_.purpose == MachinePurpose::kSnapshot) TellProgress("booting");
    // A boot that fails is an end of the machine.
    vmm_->Boot(spec, IfStillThis([this](const MachineEnd& end) { OnMachineEnd(end); }),
               IfStillThis([this](Status booted) {
                 if (booted) Connect();
               }));
    return {};
  }

  // From a snapshot. Its agent is greeted with the tokens
  // of its source and gets entropy, clock, identity and a token of its own before anything else
  // (L33).
  Status BeginRestored() {
    WRIT_ASSIGN(MachineSpec spec, Spec());
    vmm_ = MakeVmm(loop_, order_.kind);
    const bool held = order_.purpose == MachinePurpose::kHeld;
    if (!held) {
      WRIT_ASSIGN(tokens_, TakeTokens());
      WRIT_TRY(BeginClient());
    }
    auto ended = IfStillThis([this](const MachineEnd& end) { OnMachineEnd(end); });
    if (order_.start == MachineFrom::kCopy) {
      vmm_->Restore(
          spec,
          {kSnapshotDirectory, MemoryFile{}, held ? AfterRestore::kPaused : AfterRestore::kRunning},
          ended, IfStillThis([this, held](Status restored) {
            if (restored) return held ? HandOut() : Connect();
            GiveUpRestoring(restored.error().message);
          }));
      return {};
    }
    WRIT_ASSIGN(pages_, ServedPages::Begin(
                            loop_, std::move(fds_.supplies),
                            held ? ServedPages::Machine::kWaits : ServedPages::Machine::kGoesOn,
                            IfStillThis([this] { Resume(); }),
                            IfStillThis([this](const Error& why) { OnPagesLost(why); })));
    vmm_->Restore(spec, {kSnapshotDirectory, pages_->memory(), AfterRestore::kPaused}, ended,
                  IfStillThis([this](Status restored) {
                    if (!restored) return GiveUpRestoring(restored.error().message);
                    restored_ = true;
                    Resume();
                  }));
    pages_->HandedOver();
    return {};
  }

  // A clone that may fail: its kernel boots then, which needs the job's output too.
  Status BeginClient() {
    client_ = std::make_unique<GuestClient>(loop_, tokens_, ClientEvents());
    WRIT_ASSIGN(out_.out, fds_.out.Duplicate());
    WRIT_ASSIGN(out_.err, fds_.err.Duplicate());
    restoring_ = true;
    restore_bound_ = loop_.At(EventLoop::Clock::now() + kRestoreBound, [this] {
      GiveUpRestoring("the guest was not ready after " + std::to_string(kRestoreBound.count()) +
                      " s");
    });
    return {};
  }

  // One that another owner has restored ahead and holds paused: it gets this run's inputs before it
  // goes on. Its monitor is not ours to kill: who gave it ends it when we are gone.
  Status BeginAdopted() {
    auto given = ReceiveWithFds(fds_.supplies.get(), kMaxTokens);
    if (!given || given->bytes.empty() || given->bytes.front() != kHeldWord ||
        given->fds.size() < kHeldFds || given->fds.size() > kHeldFds + 1)
      return Error{ErrorKind::kInternal, "microvm.supplies", "the machine was not given"};
    WRIT_ASSIGN(tokens_, ReadTokens(std::move(given->bytes).substr(1)));
    vmm_ = MakeVmm(loop_, order_.kind);
    WRIT_TRY(BeginClient());
    adopted_ = true;
    if (given->fds.size() > kHeldFds)
      pages_ = ServedPages::Adopt(loop_, std::move(fds_.supplies), std::move(given->fds[kHeldFds]),
                                  IfStillThis([this](const Error& why) { OnPagesLost(why); }));
    auto then = [this](auto next) {
      return IfStillThis([this, next](Status done) {
        if (done) return next();
        GiveUpRestoring(done.error().message);
      });
    };
    vmm_->Adopt(
        {std::move(given->fds[0]), std::move(given->fds[1])},
        IfStillThis([this](const MachineEnd& end) { OnMachineEnd(end); }), then([this, then] {
          auto resume = [this, then] { vmm_->Resume(then([this] { Connect(); })); };
          auto inputs = [this, then, resume] { vmm_->PutInputs(kInputsFile, then(resume)); };
          if (!order_.job.on_base) return inputs();
          vmm_->PutBase(kBasePlace, then(inputs));
        }));
    return {};
  }

  // Ready, for somebody else's run. From here on only its monitor is watched: by its parent.
  void HandOut() {
    auto handed = vmm_->HandOver();
    if (!handed && handed.error().kind == ErrorKind::kConflict) {
      // Its monitor has not said all yet. The bound of the start holds here too.
      loop_.At(EventLoop::Clock::now() + std::chrono::milliseconds(5),
               IfStillThis([this] { HandOut(); }));
      return;
    }
    auto counted = OpenDirectory(kMadePlace);
    if (!handed || !counted)
      return OnLost(handed ? counted.error().message : handed.error().message);
    loop_.Remove(boot_bound_);
    fds_.out.reset();
    fds_.err.reset();
    ready_ = true;
    std::vector<int> out;
    if (fds_.listener) out.push_back(fds_.listener.get());
    UniqueFd pages = pages_ ? pages_->HandOver() : UniqueFd();
    for (const UniqueFd* fd : {&*counted, &handed->control, &handed->channel, &pages})
      if (*fd) out.push_back(fd->get());
    (void)!::write(fds_.told.get(), &launch::kInitReady, 1);
    if (!SendWithFds(fds_.socket.get(), launch::kInitReady + std::string(launch::kMachineHeld),
                     out))
      loop_.Stop();
    fds_.listener.reset();
  }

  // Nothing of the guest runs before its monitor has shown its memory: one that ignores its
  // preloaded library would run it with zeros.
  void Resume() {
    if (!restored_ || !pages_->attached()) return;
    if (order_.purpose == MachinePurpose::kHeld) return HandOut();
    vmm_->Resume(IfStillThis([this](Status resumed) {
      if (resumed) return Connect();
      GiveUpRestoring(resumed.error().message);
    }));
  }

  // L32: what it has not got it will never get.
  void OnPagesLost(const Error& why) {
    OnLost("the machine's memory could not be given to it: " + why.message + " [" + why.code + "]");
  }

  // Nothing of the job has run. The kernel boots instead, and whoever asks is told why.
  void GiveUpRestoring(const std::string& why) {
    if (order_.purpose == MachinePurpose::kHeld) return OnLost("the restore failed: " + why);
    ++attempt_;
    adopted_ = false;
    restoring_ = false;
    loop_.Remove(restore_bound_);
    not_restored_ = "the restore failed: " + why;
    // We may be in a callback of theirs.
    loop_.Post([this] {
      if (vmm_) vmm_->Kill();
      client_.reset();
      vmm_.reset();
      pages_.reset();
      if (auto made = OpenDirectory(kMadePlace))
        (void)RemoveTreeBeneath(made->get(), kSnapshotName).has_value();
      if (Status begun = BeginCold(); !begun) OnLost(begun.error().ToString());
    });
  }

  void Connect() {
    vmm_->Connect(IfStillThis([this](Result<UniqueFd> channel) { OnChannel(std::move(channel)); }));
  }

  void OnChannel(Result<UniqueFd> channel) {
    if (!channel) return OnLost(channel.error().ToString());
    Status begun = order_.purpose == MachinePurpose::kSnapshot
                       ? BeginQuiesce(std::move(channel).value())
                       : client_->Begin(std::move(channel).value(), order_.job, std::move(out_));
    if (!begun) OnLost(begun.error().ToString());
  }

  // The channel is kept until the machine stands still: a guest that loses its host ends.
  Status BeginQuiesce(UniqueFd channel) {
    WRIT_ASSIGN(kept_channel_, channel.Duplicate());
    GuestClient::Quiescing quiescing;
    quiescing.warm_up = order_.warm_up;
    quiescing.on_warm_up = [this](std::size_t index) {
      TellProgress("warm-up command " + std::to_string(index + 1) + " of " +
                   std::to_string(order_.warm_up.size()));
    };
    quiescing.on_quiesced = [this] {
      TellProgress("pausing");
      vmm_->Pause([this](Status paused) {
        if (paused) TakeSnapshot();
      });
    };
    return client_->BeginQuiesce(std::move(channel), std::move(quiescing));
  }

  // A pause that fails is an end of the machine; a snapshot that is refused is not.
  void TakeSnapshot() {
    TellProgress("writing the device state");
    auto made = MakeDirectories(kSnapshotDirectory, 0700);
    Status written = made ? WriteFileAtomic(made->get(), kTokensName, TokensText(tokens_), 0600)
                          : Status(std::move(made).error());
    if (!written) return OnLost(written.error().ToString());
    vmm_->Snapshot({kSnapshotDirectory, SnapshotKind::kFull, AfterSnapshot::kSpent},
                   [this](Status taken) {
                     if (!taken) return OnLost(taken.error().ToString());
                     // Gone before anybody reads what it was.
                     ++attempt_;
                     vmm_->Kill();
                     OnPrepared();
                   });
  }

  void TellProgress(const std::string& what) {
    UniqueFd file(::open(kProgressFile.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (file) (void)WriteAll(file.get(), what + "\n").has_value();
  }

  GuestClient::Events ClientEvents() {
    GuestClient::Events events;
    events.on_prepared = IfStillThis([this] { OnPrepared(); });
    events.on_started = [this] {
      report_.reset();
      stillness_.emplace(*vmm_, *client_, fds_.socket.get(),
                         [this](const std::string& why) { OnLost(why); });
    };
    events.on_refused = [this](const Refused& refused) {
      Tell(launch::RefusedMessage{0, refused.program, refused.address, refused.reason});
    };
    events.on_ended = [this](const Ended& ended) { OnEnded(ended); };
    events.on_changes = [this](Status taken) { OnChanges(std::move(taken)); };
    if (plan_.proxy) events.connect = [this] { return ConnectToProxy(); };
    events.on_lost = IfStillThis([this](const std::string& why) { OnChannelLost(why); });
    return events;
  }

  void Tell(const launch::Message& message) {
    const std::string bytes = launch::kGuestWord + launch::EncodeMessage(message);
    (void)SendWithFds(fds_.socket.get(), bytes, {}).has_value();
  }

  // How it was started, in the words of inside.h.
  std::string StartWords() const {
    if (restoring_) return adopted_ ? launch::kStartedPooled : launch::kStartedRestored;
    std::string words = launch::kStartedCold;
    if (!not_restored_.empty()) words += " " + not_restored_;
    return words.substr(0, launch::kMaxMachineStart);
  }

  void OnPrepared() {
    const std::string started = StartWords();
    restoring_ = false;
    loop_.Remove(restore_bound_);
    fds_.out.reset();  // the client has what it needs: the job's end is to be seen
    fds_.err.reset();
    loop_.Remove(boot_bound_);
    auto counted = OpenDirectory(kMadePlace);
    if (!counted) return OnLost(counted.error().message);
    ready_ = true;
    (void)!::write(fds_.told.get(), &launch::kInitReady, 1);
    std::vector<int> out;
    if (fds_.listener) out.push_back(fds_.listener.get());
    out.push_back(counted->get());
    if (!SendWithFds(fds_.socket.get(), launch::kInitReady + started, out)) loop_.Stop();
    fds_.listener.reset();
  }

  // The word to start, what is put beside the job, or the supervisor's end.
  void OnSupervisor() {
    auto word = ReceiveWithFds(fds_.socket.get(), 64);
    if (word && client_ && entries_.OnWord(*client_, word->bytes, word->fds)) return;
    if (word && (word->bytes == launch::kPause || word->bytes == launch::kResume) && stillness_)
      return stillness_->OnWord(word->bytes == launch::kPause);
    const std::size_t wanted = order_.job.terminal ? 4 : 2;
    if (!word || word->bytes != launch::kStart || word->fds.size() != wanted || !ready_)
      return loop_.Stop();
    auto bytes = ReadAll(word->fds[0].get(), kMaxEnvironmentBytes);
    auto env = bytes ? launch::DecodeEnvironment(*bytes) : std::move(bytes).error();
    if (bytes) ::explicit_bzero(bytes->data(), bytes->size());
    if (!env) return loop_.Stop();
    report_ = std::move(word->fds[1]);
    client_->Start(Go{std::move(env).value()});
    if (order_.job.terminal)
      client_->OpenTerminal(std::move(word->fds[2]), std::move(word->fds[3]));
  }

  void OnSignal() {
    signalfd_siginfo info{};
    while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info))
      if (stillness_)
        stillness_->Cancel();
      else if (client_)
        client_->Cancel();
  }

  UniqueFd ConnectToProxy() {
    UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = plan_.proxy->ipv4;
    address.sin_port = htons(plan_.proxy->port);
    if (socket &&
        ::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 &&
        errno != EINPROGRESS)
      socket.reset();
    return socket;
  }

  void OnEnded(const Ended& ended) {
    if (report_ && ended.kind == Outcome::Kind::kSetupFailed) {
      const std::string text = launch::kFailureReport + std::string("0 guest: ") + ended.reason;
      (void)SendWithFds(report_.get(), text.substr(0, 400), {}).has_value();
      return loop_.Stop();
    }
    const launch::EndedMessage message = FromGuest(ended);
    if (message.cause == launch::EndedMessage::Cause::kExecFailed && report_) {
      const std::string text =
          launch::kFailureReport + std::to_string(message.exec_errno) + " exec";
      (void)SendWithFds(report_.get(), text, {}).has_value();
    }
    report_.reset();
    if (stillness_) stillness_->Over();
    ended_ = ended;
    ended_message_ = message;
    // Told first, so that no time-out of the job's counts what follows.
    Tell(message);
    if (ended.status) {
      const int status = ended.status->signalled ? ended.status->signal : ended.status->code << 8;
      (void)SendWithFds(fds_.socket.get(), launch::kJobEnded + std::to_string(status), {})
          .has_value();
    }
    if (pages_) pages_->BringCounters();
    auto workspace = OpenDirectory(kWorkspacePlace);
    if (!workspace) return OnChanges(std::move(workspace).error());
    client_->FetchChanges(std::move(workspace).value(),
                          {order_.change_bytes, order_.change_entries});
  }

  void OnChanges(Status taken) {
    if (taken)
      (void)SendWithFds(fds_.socket.get(), std::string(1, launch::kGuestDone), {}).has_value();
    else
      TellMachineEnd("what the job changed was not brought out: " + taken.error().ToString());
    loop_.Stop();
  }

  // The machine's own end is waited for: it says more than the channel's.
  void OnChannelLost(const std::string& why) {
    lost_ = why;
    loop_.At(EventLoop::Clock::now() + std::chrono::seconds(2),
             IfStillThis([this] { OnLost(lost_); }));
  }

  void OnMachineEnd(const MachineEnd& end) { OnLost(end.text); }

  void OnLost(const std::string& why) {
    if (restoring_) return GiveUpRestoring(why);
    if (!ready_)
      failed_ = why;
    else
      TellMachineEnd(why);
    loop_.Stop();
  }

  void TellMachineEnd(const std::string& why) {
    launch::EndedMessage message = ended_message_;
    message.cause = launch::EndedMessage::Cause::kMachineEnded;
    message.note = why.substr(0, 600);
    report_.reset();
    Tell(message);
  }

  const MachineOrder& order_;
  const launch::LaunchPlan& plan_;
  MachineFds fds_;
  GuestTokens tokens_;
  EventLoop loop_;
  UniqueFd signals_;
  MachineEntries entries_{fds_.socket.get()};
  UniqueFd report_;                     // from the word to start until the job runs
  std::unique_ptr<ServedPages> pages_;  // of a machine whose memory comes from a page server
  std::unique_ptr<Vmm> vmm_;
  std::unique_ptr<GuestClient> client_;
  int attempt_ = 0;         // which machine of ours is the one that we have
  bool restored_ = false;   // its device state is in; pages_ alone asks
  bool adopted_ = false;    // it was restored ahead
  bool restoring_ = false;  // from a snapshot; where it fails, the kernel boots
  EventLoop::WatchId restore_bound_ = 0;
  std::string not_restored_;            // why not, where there was a snapshot
  GuestFds out_;                        // for the client, until it begins
  UniqueFd kept_channel_;               // of a machine that becomes a snapshot
  std::optional<Stillness> stillness_;  // while the job runs
  std::optional<Ended> ended_;
  launch::EndedMessage ended_message_;
  EventLoop::WatchId boot_bound_ = 0;
  bool ready_ = false;
  std::string lost_;
  std::string failed_;
};

}  // namespace

std::string RunMachine(const MachineOrder& order, const launch::LaunchPlan& plan, MachineFds fds) {
  return MachineRun(order, plan, std::move(fds)).Run();
}

}  // namespace writ::backends::microvm
