// Machines under a monitor of this host, without the jail: their files in a folder of their own,
// their agent met by a GuestClient.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "writ/backends/microvm/guest_client.h"
#include "writ/backends/microvm/vmm.h"

namespace writ::test {

// A folder that goes with its owner.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }
  // An empty folder in it.
  std::string Make(const std::string& name) const;

 private:
  std::string path_;
};

// Parts of a machine of the test image: kernel, initramfs with `tokens`, root, and an inputs image
// whose workspace has one file, `name`.
struct MachineParts {
  backends::microvm::MachineSpec spec;
  backends::microvm::GuestTokens tokens = backends::microvm::GuestTokens::Make();
};
MachineParts MakeParts(const std::string& folder);
std::string MakeInputs(const std::string& folder, const std::string& name,
                       const std::string& bytes);

// What one job in a machine left behind.
struct GuestRun {
  std::string out;
  std::string lost;
  std::optional<backends::microvm::Ended> ended;
};

// A loop that is run until a step is done; a test fails where it takes minutes.
class Steps {
 public:
  backends::microvm::EventLoop& loop() { return loop_; }
  void Until(const std::function<bool()>& done);
  // The status that `call` is answered with.
  Status Await(const std::function<void(std::function<void(Status)>)>& call);

 private:
  backends::microvm::EventLoop loop_;
};

// Greets the guest and runs `script` in it, changes brought into `workspace`.
class GuestJob {
 public:
  GuestJob(Steps& steps, backends::microvm::GuestTokens tokens, std::string script,
           std::string workspace);
  void Begin(UniqueFd channel);
  bool done() const { return done_; }
  const GuestRun& run() const { return run_; }
  const std::string& host_name() const { return client_->host_name(); }
  const std::string& token() const { return client_->token(); }

 private:
  Steps& steps_;
  std::string script_;
  std::string workspace_;
  GuestRun run_;
  bool done_ = false;
  UniqueFd out_;
  backends::microvm::EventLoop::WatchId watch_ = 0;
  std::unique_ptr<backends::microvm::GuestClient> client_;
};

}  // namespace writ::test
