// QEMU: RAM in a shared file while a machine may become a snapshot. Stopped, that file is the
// memory and a migration that leaves shared RAM out ("x-ignore-shared") is the device state. A
// restore maps the file privately, or nothing at all where a page server fills it in, and takes the
// state in.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <memory>
#include <utility>

#include "copy_sparse.h"
#include "monitor_process.h"
#include "qmp.h"
#include "writ/backends/microvm/guest_layout.h"
#include "writ/backends/microvm/qemu_command.h"
#include "writ/base/unix_socket.h"

namespace writ::backends::microvm {
namespace {

constexpr char kStateName[] = "state";
constexpr char kMemoryName[] = "memory";

class Qemu final : public Vmm {
 public:
  explicit Qemu(EventLoop& loop) : Vmm(loop), process_(loop) {}
  ~Qemu() override { Kill(); }
  SnapshotParts Parts() const override { return {{kStateName}, kMemoryName}; }

 private:
  Status DoBoot(const MachineSpec& spec) override {
    QemuRam ram;
    if (!spec.place.empty()) {
      ram.kind = QemuRam::Kind::kShared;
      ram.path = spec.place + "/" + kMemoryName;
      UniqueFd file(::open(ram.path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
      if (!file || ::ftruncate(file.get(), static_cast<off_t>(spec.memory_bytes)) != 0)
        return SysError(errno, "microvm.ram", "cannot make the machine's memory " + ram.path);
      own_ram_ = ram.path;
    }
    WRIT_TRY(Start(spec, ram, {}));
    qmp_->Execute("query-status", {}, [this](Status up) { Settle(std::move(up)); });
    return {};
  }

  Status DoRestore(const MachineSpec& spec, const RestoreOrder& order) override {
    QemuRam ram;
    ram.start = QemuRam::Start::kRestored;
    More more;
    if (const auto* file = std::get_if<MemoryFile>(&order.memory)) {
      ram.path = order.directory + "/" + kMemoryName;
      const bool own = file->use == MemoryFile::Use::kOwn;
      ram.kind = own ? QemuRam::Kind::kShared : QemuRam::Kind::kCopyOnWrite;
      if (own) own_ram_ = ram.path;
      struct stat st {};
      if (::stat(ram.path.c_str(), &st) != 0 ||
          static_cast<std::uint64_t>(st.st_size) != spec.memory_bytes)
        return Error{ErrorKind::kInvalid, "microvm.ram",
                     "the snapshot's memory is not of the machine's size"};
    } else {
      const auto& server = std::get<PageServer>(order.memory);
      if (server.stream < 0) {
        WRIT_ASSIGN(more.connected, ConnectToUnixPath(server.socket));
      }
      more.pages = server.stream < 0 ? more.connected.get() : server.stream;
      more.device = server.device;
      more.env = {"LD_PRELOAD=" + server.preload, "WRIT_UFFD_FD=" + std::to_string(kQemuPagesFd),
                  "WRIT_UFFD_RAM_BYTES=" + std::to_string(spec.memory_bytes)};
      if (more.device >= 0)
        more.env.push_back("WRIT_UFFD_DEVICE_FD=" + std::to_string(kQemuUserfaultFd));
    }
    const std::string path = order.directory + "/" + kStateName;
    more.state.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!more.state) return SysError(errno, "microvm.state_file", "cannot open " + path);
    WRIT_TRY(Start(spec, ram, std::move(more)));
    const bool runs = order.after == AfterRestore::kRunning;
    migrated_ = [this, runs](Status taken) {
      if (!taken || !runs) return Settle(std::move(taken));
      qmp_->Execute("cont", {}, [this](Status done) { Settle(std::move(done)); });
    };
    AskCapabilities();
    qmp_->Execute("migrate-incoming", {{"uri", "fd:" + std::to_string(kQemuStateFd)}},
                  [this](Status begun) { OnMigrationBegun(std::move(begun)); });
    return {};
  }

  void DoConnect(Connected connected) override {
    if (!channel_)
      return connected(Error{ErrorKind::kConflict, "microvm.channel",
                             "the machine's channel has been taken before"});
    connected(std::move(channel_));
  }

  Status DoPause() override { return Tell("stop"); }
  Status DoResume() override { return Tell("cont"); }

  Status DoSnapshot(const SnapshotOrder& order) override {
    if (order.kind == SnapshotKind::kDifferential)
      return Error{ErrorKind::kUnsupported, "microvm.differential",
                   "QEMU does not tell which pages were written"};
    if (own_ram_.empty())
      return Error{ErrorKind::kUnsupported, "microvm.ram",
                   "the machine's memory is in no file of its own"};
    const std::string path = order.directory + "/" + kStateName;
    UniqueFd state(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!state) return SysError(errno, "microvm.state_file", "cannot make " + path);
    const std::string memory = order.directory + "/" + kMemoryName;
    const bool spent = order.after == AfterSnapshot::kSpent;
    migrated_ = [this, memory, spent](Status written) {
      if (!written) return Settle(std::move(written));
      // Where nobody writes to it any more, the file itself is the snapshot's.
      if (spent && ::link(own_ram_.c_str(), memory.c_str()) == 0) return Settle({});
      Settle(CopySparse(own_ram_, memory));
    };
    AskCapabilities();
    qmp_->Execute(
        "getfd", {{"fdname", kStateName}}, [](Status) {}, std::move(state));
    qmp_->Execute("migrate", {{"uri", std::string("fd:") + kStateName}},
                  [this](Status begun) { OnMigrationBegun(std::move(begun)); });
    return {};
  }

  Status DoAdopt(HandedMachine machine) override {
    channel_ = std::move(machine.channel);
    adopted_ = true;
    qmp_ = std::make_unique<Qmp>(
        loop(), std::move(machine.control),
        [this](std::string_view event, const json::Value& data) { OnEvent(event, data); },
        Qmp::Greeting::kTaken,
        [this] {
          // Its maker is its parent, and knows more.
          loop().Post([this, alive = std::weak_ptr<bool>(alive_)] {
            if (!alive.expired()) Ended(process_.End(guest_ended_));
          });
        });
    return Tell("query-status");
  }

  Result<HandedMachine> DoHandOver() override {
    HandedMachine out;
    out.control = qmp_->GiveAway();
    out.channel = std::move(channel_);
    if (!out.control || !out.channel)
      return Error{ErrorKind::kConflict, "microvm.hand_over", "the monitor is still being told"};
    return out;
  }

  // A new node for the file; the drive's own node then reads from it. The monitor of an adopted
  // machine does not see our files: it gets a descriptor.
  Status DoPutDrive(const std::string& name, const std::string& file) override {
    const int number = ++nodes_made_;
    const std::string node = name + "-" + std::to_string(number);
    std::string place = file;
    if (adopted_) {
      UniqueFd opened(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
      if (!opened) return SysError(errno, "microvm.inputs", "cannot open " + file);
      place = "/dev/fdset/" + std::to_string(number);
      qmp_->Execute(
          "add-fd", {{"fdset-id", number}}, [](Status) {}, std::move(opened));
    }
    qmp_->Execute(
        "blockdev-add",
        {{"driver", "file"}, {"node-name", node}, {"filename", place}, {"read-only", true}},
        [](Status) {});
    json::Object drive{{"driver", "raw"}, {"node-name", name}, {"read-only", true}, {"file", node}};
    qmp_->Execute("blockdev-reopen", {{"options", json::Array{std::move(drive)}}},
                  [this, name, node](Status opened) {
                    if (!opened) return Settle(std::move(opened));
                    const std::string before = std::exchange(nodes_[name], node);
                    if (before.empty()) return Settle({});
                    qmp_->Execute("blockdev-del", {{"node-name", before}},
                                  [this](Status gone) { Settle(std::move(gone)); });
                  });
    return {};
  }

  void DoKill() override {
    // We may be in a callback of its own: it goes when the loop turns.
    if (qmp_) {
      qmp_->Abandon();
      loop().Post([last = std::shared_ptr<Qmp>(std::move(qmp_))] {});
    }
    process_.Kill();
  }

  struct More {
    UniqueFd state;
    UniqueFd connected;
    int pages = -1;
    int device = -1;
    std::vector<std::string> env;
  };
  Status Start(const MachineSpec& spec, const QemuRam& ram, More more) {
    WRIT_ASSIGN(SocketPair control, MakeStreamPair());
    WRIT_ASSIGN(SocketPair channel, MakeStreamPair());
    MonitorProcess::Start start;
    start.program = spec.vmm;
    start.argv = QemuCommand(spec, ram);
    start.env = std::move(more.env);
    start.env.push_back("LANG=C");
    start.fds = {{control.theirs.get(), kQemuControlFd}, {channel.theirs.get(), kQemuChannelFd}};
    if (more.state) start.fds.push_back({more.state.get(), kQemuStateFd});
    if (more.pages >= 0) start.fds.push_back({more.pages, kQemuPagesFd});
    if (more.device >= 0) start.fds.push_back({more.device, kQemuUserfaultFd});
    start.console_fds = {kQemuConsoleFd, 2};
    WRIT_TRY(process_.Run(start, [this] { Ended(process_.End(guest_ended_)); }));
    channel_ = std::move(channel.ours);
    qmp_ = std::make_unique<Qmp>(
        loop(), std::move(control.ours),
        [this](std::string_view event, const json::Value& data) { OnEvent(event, data); });
    return {};
  }

  Status Tell(const std::string& command) {
    qmp_->Execute(command, {}, [this](Status done) { Settle(std::move(done)); });
    return {};
  }

  void AskCapabilities() {
    json::Array wanted;
    for (const char* name : {"x-ignore-shared", "events"})
      wanted.push_back(json::Object{{"capability", name}, {"state", true}});
    qmp_->Execute("migrate-set-capabilities", {{"capabilities", std::move(wanted)}}, [](Status) {});
  }

  // The command's own failure; what it led to comes as an event.
  void OnMigrationBegun(Status begun) {
    if (begun || !migrated_) return;
    std::exchange(migrated_, nullptr)(std::move(begun));
  }

  void OnEvent(std::string_view event, const json::Value& data) {
    if (event == "SHUTDOWN") {
      const json::Value* guest = data.Find("guest");
      if (guest != nullptr && guest->if_bool() != nullptr && *guest->if_bool())
        guest_ended_ = data.FindString("reason").value_or("guest");
    }
    if (event != "MIGRATION" || !migrated_) return;
    const std::string_view status = data.FindString("status").value_or("");
    if (status == "completed") return std::exchange(migrated_, nullptr)({});
    if (status == "failed" || status == "cancelled")
      std::exchange(migrated_, nullptr)(Error{ErrorKind::kUnavailable, "microvm.migration",
                                              "the device state could not be carried over"});
  }

  MonitorProcess process_;
  std::unique_ptr<Qmp> qmp_;
  UniqueFd channel_;
  std::string own_ram_;      // the file that this machine alone has as its RAM; may be empty
  std::string guest_ended_;  // QEMU's reason
  std::map<std::string, std::string> nodes_;  // of the files that were put behind drives
  int nodes_made_ = 0;
  bool adopted_ = false;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for what is posted
  std::function<void(Status)> migrated_;
};

}  // namespace

std::unique_ptr<Vmm> MakeQemu(EventLoop& loop) {
  return std::make_unique<Qemu>(loop);
}

}  // namespace writ::backends::microvm
