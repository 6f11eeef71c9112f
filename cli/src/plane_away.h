// PlaneAway: calls of one command that its plane does not answer now, made again until it does.
//
// A plane that restarts, or a balancer before it that answers 429 or 503 meanwhile, ends nothing:
// what was asked is asked again with back-off and jitter, within a bound that counts from the first
// failure in a row (L19). It is told once, and that it is over once, whatever calls of the command
// fail at the same time. One thread.
#pragma once

#include <chrono>
#include <optional>

#include "context.h"
#include "writ/base/backoff.h"
#include "writ/base/clock.h"
#include "writ/base/result.h"

namespace writ::cli {

class PlaneAway {
 public:
  // Both are borrowed and outlive it. `patience`: how long a call is made again; 0: not at all.
  PlaneAway(const Context& context, const Clock& clock, std::chrono::milliseconds patience)
      : context_(context), clock_(clock), patience_(patience) {}

  // One kind of call, which is made over and over.
  class Call {
   public:
    explicit Call(PlaneAway& plane) : plane_(plane) {}
    enum class Then {
      kAgain,    // when Wait() is over
      kGivenUp,  // the bound is reached
      kRefused,  // an answer that asking again does not change
    };
    void Answered();
    void Abandon();  // it is not made again; nothing is said of that here
    Then Failed(const Error& error);
    // Until it may be made (again); 0: now.
    std::chrono::milliseconds Wait() const;
    bool failing() const { return since_.has_value(); }
    // Since the first of the failures in a row; 0 where there is none.
    std::chrono::milliseconds FailingFor() const;

   private:
    PlaneAway& plane_;
    Backoff backoff_;
    int failures_ = 0;
    std::optional<std::chrono::nanoseconds> since_;
    std::chrono::nanoseconds due_{0};
  };

  std::chrono::milliseconds patience() const { return patience_; }
  // How long something was failing in all, for the result of a command.
  std::chrono::milliseconds AwayFor() const;

 private:
  void Begin();
  void Tell(const Error& error);
  enum class Ending { kAnswered, kAbandoned };
  void End(Ending ending);
  const Context& context_;
  const Clock& clock_;
  const std::chrono::milliseconds patience_;
  int failing_ = 0;  // calls
  bool told_ = false;
  std::chrono::nanoseconds since_{0};
  std::chrono::nanoseconds before_{0};  // the sum of those that are over
};

// Whether asking again later can bring another answer.
bool MayPass(const Error& error);

}  // namespace writ::cli
