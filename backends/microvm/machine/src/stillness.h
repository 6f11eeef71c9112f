// Stillness: the machine of a running job stands still, and goes on - at its supervisor's word
// (inside.h), or because the job is to end, for which it needs its grace. A machine that cannot be
// brought back is destroyed, and its run is lost with the reason (L36): nothing stands still
// unasked.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "writ/backends/microvm/guest_client.h"
#include "writ/backends/microvm/vmm.h"

namespace writ::backends::microvm {

class Stillness {
 public:
  // All borrowed. `socket`: the supervisor's. `lost` is told of a machine that was destroyed.
  Stillness(Vmm& vmm, GuestClient& client, int socket, std::function<void(const std::string&)> lost)
      : vmm_(vmm), client_(client), socket_(socket), lost_(std::move(lost)) {}
  ~Stillness() { *alive_ = false; }
  Stillness(const Stillness&) = delete;
  Stillness& operator=(const Stillness&) = delete;

  void OnWord(bool pause);
  // The job's, with its grace: from a machine that runs.
  void Cancel();
  // The job has ended: what it has left to bring out needs a machine that runs.
  void Over();

 private:
  enum class State { kRunning, kPausing, kStill, kResuming };
  void Pause();
  void Resume();
  void GoOn();
  void Answer(bool still, const std::string& why);

  Vmm& vmm_;
  GuestClient& client_;
  const int socket_;
  std::function<void(const std::string&)> lost_;
  State state_ = State::kRunning;
  bool owed_ = false;  // an answer to the supervisor
  bool ending_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace writ::backends::microvm
