#include "fault/support/fault_world.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "support/places.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/digest.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr milliseconds kCommandLimit{60'000};

[[noreturn]] void Give(const std::string& why) {
  std::fprintf(stderr, "fault world: %s\n", why.c_str());
  std::abort();
}

std::string Slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::string Tail(const std::string& path) {
  std::string text = Slurp(path);
  return text.size() > 3000 ? text.substr(text.size() - 3000) : text;
}

bool Holds(const std::string& bytes, const std::string& needle) {
  return bytes.find(needle) != std::string::npos;
}

}  // namespace

FaultWorld::FaultWorld() {
  std::string pattern = (fs::temp_directory_path() / "writ-fault-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) Give("no temporary folder");
  root_ = pattern;
  chmod(root_.c_str(), 0711);
  // Its quote, slash and plus differ between the forms of EncodingsOf.
  secret_ = "k\"/+" + HexEncode(RandomBytes(16)) + "~&";
  if (Writ({"init"}).code != 0) Give("writ init failed");
  if (Writ({"secrets", "set", "DEMO"}, secret_).code != 0) Give("writ secrets set failed");
  const std::string policy_path = root_ + "/state/policy.json";
  json::Value policy = json::Parse(Slurp(policy_path)).value();
  policy.object().Set(
      "secrets",
      json::Object{{"releasable",
                    json::Array{json::Object{{"name", "DEMO"},
                                             {"scope", "pool:default"},
                                             {"pools", json::Array{json::Value("default")}}}}}});
  std::ofstream(policy_path) << json::Write(policy);
  if (Writ({"enroll-token", "--out", root_ + "/token"}).code != 0) Give("no enrolment token");
  fs::create_directory(root_ + "/repo");
  const std::vector<std::vector<std::string>> git = {
      {"init", "-q"},
      {"-c", "user.email=a@example.com", "-c", "user.name=a", "commit", "-q", "--allow-empty", "-m",
       "first"}};
  for (std::vector<std::string> args : git) {
    args.insert(args.begin(), {"-C", root_ + "/repo"});
    if (Command("/usr/bin/git", args).code != 0) Give("git failed");
  }
}

FaultWorld::~FaultWorld() {
  KillRunner();
  KillPlane();
  std::error_code ignored;
  fs::remove_all(root_, ignored);
}

Daemon FaultWorld::Start(const std::vector<std::string>& args, const std::string& fault,
                         const std::string& name, Death death) {
  Daemon daemon;
  daemon.log = root_ + "/" + name + "-" + std::to_string(++starts_) + ".log";
  UniqueFd log(open(daemon.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  SpawnOptions spawn;
  spawn.path = writ::test::BinDir() + "/writ";
  spawn.argv = {"writ"};
  spawn.argv.insert(spawn.argv.end(), args.begin(), args.end());
  spawn.env = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + root_};
  if (!fault.empty()) spawn.env.push_back("WRIT_FAULT=" + fault);
  if (death == Death::kPowerCut) {
    spawn.env.push_back("LD_PRELOAD=" WRIT_POWER_CUT);
    spawn.env.push_back("WRIT_POWER_ROOT=" + root_);
  }
  spawn.cwd = root_;  // where a core file would lie
  spawn.fds = {{log.get(), 1}, {log.get(), 2}};
  Result<Child> child = Child::Spawn(spawn);
  if (!child) Give(child.error().ToString());
  daemon.child = std::move(*child);
  return daemon;
}

namespace {

// An unnamed file: what stands in it (a secret on its way) lies nowhere.
UniqueFd MemoryFile(const std::string& bytes) {
  UniqueFd fd(memfd_create("command", MFD_CLOEXEC));
  if (!fd || !WriteAll(fd.get(), bytes) || lseek(fd.get(), 0, SEEK_SET) != 0)
    Give("no memory file");
  return fd;
}

CommandResult RunCommand(const std::string& program, const std::vector<std::string>& args,
                         const std::string& input, const std::string& home) {
  UniqueFd in = MemoryFile(input), out = MemoryFile("");
  SpawnOptions spawn;
  spawn.path = program;
  spawn.argv = {program};
  spawn.argv.insert(spawn.argv.end(), args.begin(), args.end());
  spawn.env = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + home};
  spawn.cwd = home;
  spawn.fds = {{in.get(), 0}, {out.get(), 1}, {out.get(), 2}};
  Result<Child> child = Child::Spawn(spawn);
  if (!child) Give(child.error().ToString());
  auto status = child->Wait(kCommandLimit);
  CommandResult result;
  if (status && *status) result.code = (*status)->ShellCode();
  lseek(out.get(), 0, SEEK_SET);
  if (auto text = ReadAll(out.get(), 64 << 20)) result.out = *text;
  return result;
}

}  // namespace

std::vector<std::string> ListedFaults() {
  std::istringstream in(RunCommand(writ::test::BinDir() + "/writ", {"--list-faults"}, "", "/").out);
  std::vector<std::string> out;
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

CommandResult FaultWorld::Command(const std::string& program, const std::vector<std::string>& args,
                                  const std::string& input) {
  return RunCommand(program, args, input, root_);
}

CommandResult FaultWorld::Writ(const std::vector<std::string>& args, const std::string& input) {
  std::vector<std::string> all = {"--dir", root_ + "/state", "--json", "--log-level", "off"};
  all.insert(all.end(), args.begin(), args.end());
  return Command(writ::test::BinDir() + "/writ", all, input);
}

bool FaultWorld::Await(const std::function<bool()>& what, milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    if (what()) return true;
    if (std::chrono::steady_clock::now() >= end) return false;
    poll(nullptr, 0, 10);
  }
}

void FaultWorld::StartPlane(const std::string& fault, Death death) {
  plane_ = Start(
      {"--dir", root_ + "/state", "--json", "plane", "start", "--port", std::to_string(port_)},
      fault, "plane", death);
  const bool serves = Await(
      [&] {
        Result<json::Value> told = json::Parse(Slurp(plane_.log));
        if (!told) return false;
        if (const json::Value* port = told->Find("port"); port != nullptr && port->if_number())
          port_ = static_cast<unsigned>(*port->if_number());
        return port_ != 0;
      },
      milliseconds(20'000));
  if (!serves) Give("the plane does not start: " + Tail(plane_.log));
}

void FaultWorld::StartRunner(const std::string& fault, unsigned slots, Death death) {
  runner_ =
      Start({"--dir", root_ + "/machine", "--log-level", "info", "runner", "start", "--pool",
             "default", "--plane", "http://127.0.0.1:" + std::to_string(road_ != 0 ? road_ : port_),
             "--plane-key", root_ + "/state/keys/plane.pub.pem", "--enroll-token-file",
             root_ + "/token", "--slots", std::to_string(slots)},
            fault, "runner", death);
}

void FaultWorld::ConfigurePlane(const std::string& member, json::Value value) {
  const std::string path = root_ + "/state/config.json";
  json::Value config = json::Parse(Slurp(path)).value();
  json::Value* plane = config.object().Find("plane");
  if (plane == nullptr) {
    config.object().Set("plane", json::Object{{member, std::move(value)}});
  } else {
    plane->object().Set(member, std::move(value));
  }
  std::ofstream(path) << json::Write(config);
}

bool FaultWorld::AwaitServing() {
  return Await([&] { return Holds(Slurp(runner_.log), " serves pool "); }, milliseconds(60'000));
}

std::string FaultWorld::RunnerKeyId() {
  Result<json::Value> told = json::Parse(Writ({"runners"}).out);
  if (!told) return "";
  const json::Value* list = told->if_array() != nullptr ? &*told : told->Find("runners");
  if (list == nullptr || list->if_array()->size() != 1) return "";
  return std::string(list->if_array()->front().FindString("keyId").value_or(""));
}

std::string FaultWorld::AskRotation() {
  const std::string before = RunnerKeyId();
  Result<json::Value> told = json::Parse(Writ({"runners"}).out);
  const json::Value* list = told->if_array() != nullptr ? &*told : told->Find("runners");
  const std::string id(list->if_array()->front().FindString("runnerId").value_or(""));
  if (Writ({"runners", "rotate", id}).code != 0) Give("the rotation cannot be asked for");
  return before;
}

void FaultWorld::KillPlane() {
  plane_.child = Child();
}
void FaultWorld::KillRunner() {
  runner_.child = Child();
}

int FaultWorld::DrainRunner() {
  (void)runner_.child.Signal(SIGTERM);
  auto status = runner_.child.Wait(milliseconds(60'000));
  return status && *status ? (*status)->ShellCode() : -1;
}
int FaultWorld::StopPlane() {
  (void)plane_.child.Signal(SIGTERM);
  auto status = plane_.child.Wait(milliseconds(30'000));
  return status && *status ? (*status)->ShellCode() : -1;
}

bool FaultWorld::AwaitDeath(Daemon& daemon, milliseconds limit) {
  auto status = daemon.child.Wait(limit);
  return status && *status && (*status)->signalled && (*status)->signal == SIGKILL;
}

bool FaultWorld::AwaitReached(const std::string& point, milliseconds limit) {
  const std::string line = "fault point " + point + " is reached\n";
  return Await([&] { return Holds(Slurp(plane_.log), line) || Holds(Slurp(runner_.log), line); },
               limit);
}

namespace {
std::string RunIdOf(const CommandResult& result) {
  for (const char* name : {"runId"}) {
    Result<json::Value> told = json::Parse(result.out);
    if (told)
      if (auto run = told->FindString(name)) return std::string(*run);
  }
  Give("no run was submitted: " + result.out);
}
}  // namespace

std::string FaultWorld::Submit() {
  return SubmitWith(150'000);
}
std::string FaultWorld::SubmitLarge() {
  return SubmitWith(9u << 20);
}
std::string FaultWorld::SubmitWith(std::uint64_t bytes) {
  return RunIdOf(
      Writ({"run", "--no-watch", "--repo", root_ + "/repo", "--secret", "DEMO", "--timeout", "60s",
            "echo made > made.txt; head -c " + std::to_string(bytes) +
                " /dev/urandom | base64 > big.txt; echo \"$DEMO\"; "
                "printf %s \"$DEMO\" | base64; "
                "printf %s \"$DEMO\" | od -An -tx1 | tr -d ' \\n'; echo; sleep 1; echo done"}));
}
std::string FaultWorld::SubmitTrue() {
  return RunIdOf(Writ({"run", "--no-watch", "--repo", root_ + "/repo", "true"}));
}

std::string FaultWorld::SubmitStubborn(const std::string& isolation) {
  return RunIdOf(Writ({"run", "--no-watch", "--repo", root_ + "/repo", "--isolation", isolation,
                       "--timeout", "300s",
                       "trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo stubborn; sleep 600' &); "
                       "sleep 600"}));
}

void FaultWorld::Cancel(const std::string& run_id) {
  (void)Writ({"cancel", run_id});
}

json::Value FaultWorld::Runs(std::size_t newest) {
  Result<json::Value> told = json::Parse(Writ({"runs", "--limit", std::to_string(newest)}).out);
  const json::Value* runs = told ? told->Find("runs") : nullptr;
  return runs != nullptr ? *runs : json::Value(json::Array{});
}

json::Value FaultWorld::Run(const std::string& run_id) {
  const json::Value runs = Runs();
  for (const json::Value& run : *runs.if_array())
    if (run.FindString("runId") == run_id) return run;
  return {};
}

bool FaultWorld::Ended(const json::Value& run) {
  const auto status = run.FindString("status");
  return status == "completed" || status == "failed" || status == "cancelled";
}

std::vector<std::string> FaultWorld::ReceiptProblems(const std::string& run_id) {
  std::vector<std::string> problems;
  const std::string path = root_ + "/bundle.json";
  CommandResult wrote = Writ({"bundle", run_id, "--out", path});
  if (wrote.code != 0) return {"there is no bundle: " + wrote.out};
  const std::string text = Slurp(path);
  protocol::VerifyOptions options;
  if (auto key = protocol::PublicKey::FromPem(Slurp(root_ + "/state/keys/plane.pub.pem")))
    options.plane_key = *key;
  const protocol::VerifyReport verified = protocol::VerifyBundle(text, options);
  if (!verified.ok || !verified.plane_pinned)
    problems.push_back("the bundle does not verify: " + protocol::RenderText(verified, run_id));
  const json::Value bundle = json::Parse(text).value();
  int terminal = 0;
  for (const json::Value& event : *bundle.Find("events")->if_array()) {
    const auto type = event.Find("event")->FindString("type").value_or("");
    terminal += type == "run.completed" || type == "run.failed" || type == "run.cancelled" ? 1 : 0;
    if (type != "artifact.created") continue;
    const std::string hash(event.Find("event")->FindString("hash").value_or(""));
    const std::string blob = root_ + "/state/plane/blobs/" + hash.substr(0, 2) + "/" + hash;
    std::string bytes = Slurp(blob);
    if (protocol::Sha256(bytes).ToHex() != hash) problems.push_back("blob " + hash + " is lost");
  }
  if (terminal != 1) problems.push_back(std::to_string(terminal) + " terminal events");
  if (bundle.Find("receipt")->FindString("runId") != run_id)
    problems.push_back("the receipt is of another run");
  fs::remove(path);
  return problems;
}

bool FaultWorld::HasEnvironment(const std::string& run_id) {
  const std::string path = root_ + "/bundle.json";
  if (Writ({"bundle", run_id, "--out", path}).code != 0) return false;
  const json::Value bundle = json::Parse(Slurp(path)).value();
  fs::remove(path);
  const json::Value* runner = bundle.Find("receipt")->Find("runner");
  return runner != nullptr && runner->Find("environment") != nullptr;
}

std::vector<std::string> FaultWorld::LateProblems(const std::string& run_id) {
  const std::string path = root_ + "/late.json";
  CommandResult wrote = Writ({"bundle", run_id, "--late", "--out", path});
  if (wrote.code != 0) return {"there is no late bundle: " + wrote.out};
  CommandResult verified =
      Command(writ::test::BinDir() + "/writ-verify",
              {"--json", path, "--plane-key", root_ + "/state/keys/plane.pub.pem"});
  fs::remove(path);
  std::vector<std::string> problems;
  Result<json::Value> report = json::Parse(verified.out);
  const json::Value* listed = report ? report->Find("problems") : nullptr;
  if (listed == nullptr) return {"the late bundle cannot be verified: " + verified.out};
  for (const json::Value& problem : *listed->if_array())
    if (problem.FindString("code") != "receipt.plane_signature")
      problems.push_back(json::Write(problem));
  if (listed->if_array()->empty()) problems.push_back("the late receipt is countersigned");
  return problems;
}

std::vector<std::string> FaultWorld::WaitingReceipts() {
  std::vector<std::string> out;
  CommandResult listed = Command(writ::test::BinDir() + "/writ",
                                 {"--dir", root_ + "/machine", "--json", "runner", "receipts"});
  Result<json::Value> told = json::Parse(listed.out);
  if (!told || told->if_array() == nullptr) return {"unreadable: " + listed.out};
  for (const json::Value& kept : *told->if_array()) out.push_back(json::Write(kept));
  return out;
}

std::vector<std::string> FaultWorld::LeftoverProblems() {
  std::vector<std::string> problems;
  // Processes: whose command line, environment, working directory or root names this world.
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string pid = entry.path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    if (pid == std::to_string(getpid())) continue;
    const std::string base = entry.path().string();
    std::error_code gone;
    const std::string cwd = fs::read_symlink(base + "/cwd", gone).string();
    if (Holds(Slurp(base + "/cmdline"), root_) || Holds(Slurp(base + "/environ"), root_) ||
        Holds(cwd, root_))
      problems.push_back("process " + pid + " is left: " + Slurp(base + "/comm"));
    if (Holds(Slurp(base + "/mountinfo"), root_))
      problems.push_back("process " + pid + " has a mount of this world");
  }
  if (Holds(Slurp("/proc/self/mountinfo"), root_)) problems.push_back("a mount is left");
  if (Holds(Slurp("/proc/net/unix"), root_)) problems.push_back("a socket is left");
  for (const char* folder : {"/machine/runner/default/work/sessions",
                             "/machine/runner/default/work/trash", "/state/plane/tmp"}) {
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(root_ + folder, none))
      problems.push_back("left in " + std::string(folder) + ": " +
                         entry.path().filename().string());
  }
  const json::Value runs = Runs();
  for (const char* base : {"/sys/fs/cgroup"}) {
    std::error_code none;
    for (auto it = fs::recursive_directory_iterator(
             base, fs::directory_options::skip_permission_denied, none);
         !none && it != fs::recursive_directory_iterator(); it.increment(none)) {
      for (const json::Value& run : *runs.if_array())
        if (it->path().filename() == "writ-" + std::string(run.FindString("runId").value_or("-")))
          problems.push_back("cgroup " + it->path().string() + " is left");
    }
  }
  return problems;
}

std::vector<std::string> FaultWorld::SecretProblems() {
  std::vector<std::string> problems;
  const auto forms = EncodingsOf(secret_);
  auto look = [&](const std::string& where, const std::string& bytes) {
    for (const auto& [name, form] : forms)
      if (Holds(bytes, form)) problems.push_back("the secret (" + name + ") stands in " + where);
  };
  for (const auto& entry :
       fs::recursive_directory_iterator(root_, fs::directory_options::skip_permission_denied))
    if (entry.is_regular_file()) look(entry.path().string(), Slurp(entry.path()));
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string pid = entry.path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    for (const char* file : {"/environ", "/cmdline"})
      look(entry.path().string() + file, Slurp(entry.path().string() + file));
  }
  return problems;
}

std::string FaultWorld::Log() {
  std::string out;
  for (const auto& entry : fs::directory_iterator(root_)) {
    const std::string name = entry.path().filename();
    if (name.ends_with(".log")) out += "== " + name + "\n" + Tail(entry.path()) + "\n";
  }
  return out;
}

}  // namespace writ::test
