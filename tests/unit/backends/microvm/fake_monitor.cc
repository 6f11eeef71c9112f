// fake_monitor: Firecracker or Cloud Hypervisor as their published APIs have them - states, errors,
// sockets - without a machine behind it. Which one: by its first argument's name, as it is started.
//
// Works in its current directory. `behave` holds words: version=1.16.1, deaf (no API socket),
// late=N (the agent's socket takes the N+1st connection), refuse=PATH (answered 400), hang=PATH,
// long=PATH (an endless answer), garbage=PATH, dies=PATH, panic, resets, noise (events that are
// none). `requests` gets one line per request: METHOD PATH STATUS BODY.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "writ/base/file.h"
#include "writ/base/unix_socket.h"
#include "writ/protocol/json.h"

namespace {

using writ::UniqueFd;
namespace json = writ::json;

constexpr std::size_t kRegion = 1u << 20;
constexpr std::uint64_t kFileLimit = 1u << 20;

enum class State { kNothing, kConfigured, kRunning, kPaused };

struct Answer {
  int status = 204;
  std::string body;
};

class Fake {
 public:
  explicit Fake(bool firecracker) : firecracker_(firecracker) {
    auto text = writ::ReadFile("behave", kFileLimit);
    std::istringstream words(text ? *text : "");
    for (std::string word; words >> word;) behave_ += " " + word + " ";
  }

  int Run() {
    if (Says("deaf"))
      for (;;) ::pause();
    auto api = writ::ListenAtUnixPath("api.sock", 0600);
    if (!api) return 3;
    for (;;) {
      pollfd fds[] = {{api->get(), POLLIN, 0}, {agent_.get(), POLLIN, 0}};
      ::poll(fds, agent_ ? 2 : 1, -1);
      if ((fds[0].revents & POLLIN) != 0) Serve(api->get());
      if (agent_ && (fds[1].revents & POLLIN) != 0) Agent();
    }
  }

 private:
  bool Says(const std::string& word) const {
    return behave_.find(" " + word + " ") != std::string::npos;
  }
  std::string Value(const std::string& name, const std::string& fallback) const {
    const auto at = behave_.find(" " + name + "=");
    if (at == std::string::npos) return fallback;
    const auto from = at + name.size() + 2;
    return behave_.substr(from, behave_.find(' ', from) - from);
  }
  Answer Fault(const std::string& why) const {
    const json::Value body =
        firecracker_ ? json::Value(json::Object{{"fault_message", why}}) : json::Array{why};
    return {firecracker_ ? 400 : 500, json::Write(body)};
  }

  // One request of a connection; libcurl makes one for each.
  void Serve(int listener) {
    UniqueFd peer(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    std::string in;
    std::size_t head = std::string::npos;
    std::size_t length = 0;
    char buffer[4096];
    while (head == std::string::npos || in.size() < head + 4 + length) {
      const ssize_t count = ::read(peer.get(), buffer, sizeof buffer);
      if (count <= 0) return;
      in.append(buffer, static_cast<std::size_t>(count));
      head = in.find("\r\n\r\n");
      const auto at = in.find("Content-Length: ");
      if (head != std::string::npos && at < head) length = std::stoul(in.substr(at + 16));
    }
    std::istringstream line(in);
    std::string method;
    std::string path;
    line >> method >> path;
    const std::string body = in.substr(head + 4);
    if (Says("dies=" + path)) ::_exit(7);
    if (Says("hang=" + path))
      for (;;) ::pause();
    auto parsed = json::Parse(body);
    Answer answer = Says("refuse=" + path)     ? Fault("as the test wants")
                    : !body.empty() && !parsed ? Fault("no JSON")
                                               : On(method, path, parsed ? *parsed : json::Value());
    std::ofstream("requests", std::ios::app)
        << method << ' ' << path << ' ' << answer.status << ' ' << body << '\n';
    if (Says("garbage=" + path)) answer.body = "{\"firecracker_version\": [";
    if (Says("long=" + path)) answer.body = std::string(4u << 20, ' ');
    std::string out = "HTTP/1.1 " + std::to_string(answer.status) +
                      " Whatever\r\nServer: fake\r\nConnection: keep-alive\r\n";
    if (answer.status != 204)
      out += "Content-Type: application/json\r\nContent-Length: " +
             std::to_string(answer.body.size()) + "\r\n";
    (void)writ::WriteAll(peer.get(), out + "\r\n" + answer.body).has_value();
    peer.reset();
    After();
  }

  Answer On(const std::string& method, const std::string& path, const json::Value& body) {
    return firecracker_ ? Firecracker(method, path, body) : CloudHypervisor(method, path, body);
  }

  Answer Firecracker(const std::string& method, const std::string& path, const json::Value& body) {
    const bool booted = state_ == State::kRunning || state_ == State::kPaused;
    if (path == "/version")
      return {200, "{\"firecracker_version\":\"" + Value("version", "1.16.1") + "\"}"};
    const bool before = path == "/machine-config" || path == "/boot-source" || path == "/vsock" ||
                        path == "/entropy" || (path.starts_with("/drives/") && method == "PUT");
    if (before) {
      if (booted) return Fault("The requested operation is not supported after starting");
      state_ = State::kConfigured;
      return {};
    }
    if (path == "/actions") {
      if (state_ != State::kConfigured) return Fault("Cannot start");
      return Start(State::kRunning);
    }
    if (path == "/snapshot/load") {
      if (state_ != State::kNothing) return Fault("Loading is only on a fresh process");
      const json::Value* backend = body.Find("mem_backend");
      if (backend->FindString("backend_type") == "Uffd" &&
          !Uffd(std::string(*backend->FindString("backend_path"))))
        return Fault("no handler");
      return Start(body.Find("resume_vm") != nullptr && *body.Find("resume_vm")->if_bool()
                       ? State::kRunning
                       : State::kPaused);
    }
    if (!booted) return Fault("The requested operation is not supported before starting");
    if (path == "/vm") {
      state_ = body.FindString("state") == "Paused" ? State::kPaused : State::kRunning;
      return {};
    }
    if (path == "/snapshot/create") {
      if (state_ != State::kPaused) return Fault("Cannot save a running machine");
      std::ofstream(std::string(*body.FindString("snapshot_path"))) << "state";
      std::ofstream(std::string(*body.FindString("mem_file_path"))) << "memory";
      return {};
    }
    if (path.starts_with("/drives/") && method == "PATCH") return {};
    return Fault("Invalid request");
  }

  Answer CloudHypervisor(const std::string&, const std::string& path, const json::Value& body) {
    const bool booted = state_ == State::kRunning || state_ == State::kPaused;
    const std::string what = path.substr(path.rfind('/') + 1);
    if (what == "vmm.ping")
      return {200, "{\"build_version\":\"v53.0\",\"version\":\"" + Value("version", "v53.0") +
                       "\",\"pid\":" + std::to_string(::getpid()) + ",\"features\":[\"kvm\"]}"};
    if (what == "vm.create") {
      if (state_ != State::kNothing) return Fault("already created");
      state_ = State::kConfigured;
      return {};
    }
    if (what == "vm.boot")
      return state_ == State::kConfigured ? Start(State::kRunning) : Answer{404, "[]"};
    if (what == "vm.restore") {
      if (state_ != State::kNothing) return {404, "[]"};
      const json::Value* resume = body.Find("resume");
      Event("vm", "restored");
      return Start(resume != nullptr && *resume->if_bool() ? State::kRunning : State::kPaused);
    }
    if (!booted) return {404, "[\"not created\"]"};
    if (what == "vm.pause") {
      if (state_ != State::kRunning) return {405, "[]"};
      state_ = State::kPaused;
      Event("vm", "paused");
      return {};
    }
    if (what == "vm.resume") {
      if (state_ != State::kPaused) return {405, "[]"};
      state_ = State::kRunning;
      Event("vm", "resumed");
      return {};
    }
    if (what == "vm.snapshot") {
      if (state_ != State::kPaused) return Fault("not paused");
      const std::string dir(body.FindString("destination_url")->substr(7));
      for (const char* name : {"config.json", "state.json", "memory-ranges"})
        std::ofstream(dir + "/" + name) << name;
      return {};
    }
    if (what == "vm.add-disk") return {200, "{\"id\":\"inputs\",\"bdf\":\"0000:00:05.0\"}"};
    return {404, "[]"};
  }

  Answer Start(State next) {
    state_ = next;
    auto agent = writ::ListenAtUnixPath("agent.sock", 0600);
    if (!agent) return Fault("the socket is taken");
    agent_ = std::move(agent).value();
    started_ = true;
    return {};
  }

  // What a guest does once it runs.
  void After() {
    if (!started_) return;
    started_ = false;
    if (Says("noise")) (void)!::write(3, "{\"source\": 1}\n\n", 15);
    if (Says("panic")) {
      (void)!::write(1, "Kernel panic - not syncing: as wanted\r\n", 39);
      if (firecracker_) ::_exit(0);
    }
    if (!Says("resets") && !Says("panic")) return;
    if (firecracker_) ::_exit(0);
    Event("vm", "rebooting");
  }

  void Event(const std::string& source, const std::string& event) {
    if (firecracker_) return;
    const json::Object timestamp{{"secs", 1}, {"nanos", 2}};
    const json::Object object{
        {"timestamp", timestamp}, {"source", source}, {"event", event}, {"properties", nullptr}};
    const std::string text = json::WritePretty(object) + "\n\n";
    (void)!::write(3, text.data(), text.size());
  }

  // The agent's end: an echo behind the handshake.
  void Agent() {
    UniqueFd peer(::accept4(agent_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (agents_++ < std::stoi(Value("late", "0"))) return;
    std::string word;
    char c = 0;
    while (::read(peer.get(), &c, 1) == 1 && c != '\n') word += c;
    if (word != "CONNECT 1000") return;
    (void)!::write(peer.get(), "OK 1073741824\nfirst", 19);
    char buffer[256];
    for (ssize_t count = 0; (count = ::read(peer.get(), buffer, sizeof buffer)) > 0;)
      (void)!::write(peer.get(), buffer, static_cast<std::size_t>(count));
  }

  // As Firecracker does: a userfaultfd over fresh memory, sent once with the list of regions.
  bool Uffd(const std::string& handler) {
    UniqueFd uffd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
    uffdio_api api{};
    api.api = UFFD_API;
    void* memory = ::mmap(nullptr, kRegion, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uffdio_register range{};
    range.range = {reinterpret_cast<std::uint64_t>(memory), kRegion};
    range.mode = UFFDIO_REGISTER_MODE_MISSING;
    auto socket = writ::ConnectToUnixPath(handler);
    if (!uffd || memory == MAP_FAILED || ::ioctl(uffd.get(), UFFDIO_API, &api) != 0 ||
        ::ioctl(uffd.get(), UFFDIO_REGISTER, &range) != 0 || !socket)
      return false;
    const json::Object region{{"base_host_virt_addr", range.range.start},
                              {"size", kRegion},
                              {"offset", 0},
                              {"page_size", 4096},
                              {"page_size_kib", 4096}};
    if (!writ::SendWithFds(socket->get(), json::Write(json::Array{region}), {uffd.get()}))
      return false;
    // The guest's first touch; Firecracker keeps the socket and the descriptor for good.
    std::ofstream("touched") << std::string(static_cast<const char*>(memory) + 8192, 5);
    (void)socket->release();
    (void)uffd.release();
    return true;
  }

  const bool firecracker_;
  std::string behave_;
  State state_ = State::kNothing;
  UniqueFd agent_;
  int agents_ = 0;
  bool started_ = false;
};

}  // namespace

int main(int, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  return Fake(std::strcmp(argv[0], "firecracker") == 0).Run();
}
