#include "stillness.h"

#include <utility>

#include "writ/backends/launch/inside.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {
namespace {

constexpr char kEnding[] = "the job is being ended";

}  // namespace

void Stillness::Answer(bool still, const std::string& why) {
  if (!std::exchange(owed_, false)) return;
  const std::string text = launch::kStill + std::string(still ? "1" : "0") + why;
  (void)SendWithFds(socket_, text.substr(0, launch::kMaxWhy), {}).has_value();
}

void Stillness::OnWord(bool pause) {
  if (owed_) return;  // one at a time was agreed
  owed_ = true;
  if (ending_) return Answer(false, kEnding);
  if (pause && state_ == State::kStill) return Answer(true, "it is paused already");
  if (!pause && state_ == State::kRunning) return Answer(false, "it is not paused");
  pause ? Pause() : Resume();
}

void Stillness::Pause() {
  state_ = State::kPausing;
  client_.HoldStill([this, alive = alive_] {
    if (!*alive) return;
    if (ending_) {
      Answer(false, kEnding);
      return GoOn();
    }
    // One that fails is an end of the machine, which its owner is told of.
    vmm_.Pause([this, alive](Status paused) {
      if (!*alive || !paused) return;
      state_ = State::kStill;
      if (!ending_) return Answer(true, {});
      Answer(false, kEnding);
      Resume();
    });
  });
}

void Stillness::Resume() {
  state_ = State::kResuming;
  vmm_.Resume([this, alive = alive_](Status resumed) {
    if (!*alive) return;
    // A monitor may refuse and leave it as it is (vmm.h, CanResume).
    if (!resumed)
      return lost_("the machine could not be resumed and was destroyed: " +
                   resumed.error().message);
    GoOn();
  });
}

// Its clock first, then its job.
void Stillness::GoOn() {
  client_.GoOn([this, alive = alive_] {
    if (!*alive) return;
    state_ = State::kRunning;
    Answer(false, ending_ ? kEnding : "");
  });
}

// Heard by the guest once its machine goes on; one that is being paused comes here again.
void Stillness::Cancel() {
  client_.Cancel();
  Over();
}

void Stillness::Over() {
  ending_ = true;
  if (state_ == State::kStill) Resume();
}

}  // namespace writ::backends::microvm
