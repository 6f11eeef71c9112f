// Result<T>: a value or an Error. The one way in which a function of this project fails.
//
// A failing *job* is not an Error (see backends/api/outcome.h); an Error is a step of ours that
// could not be done. Errors are values: made once where the failure is seen, given context once per
// layer on the way up, and reported once. Nothing is both logged and returned.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace writ {

// What the caller should do about it.
enum class ErrorKind {
  kInvalid,      // the input is wrong: reject it
  kDenied,       // policy said no
  kNotFound,     // the thing named is not there
  kUnavailable,  // try again with back-off
  kOverloaded,   // back off now
  kUnsupported,  // this host or backend cannot: choose another
  kConflict,     // the state is not the expected one: read again
  kIntegrity,    // hash or signature mismatch: stop and alert
  kCancelled,    // somebody asked us to stop
  kInternal,     // a bug of ours or an unexpected failure of the system
};

std::string_view ErrorKindName(ErrorKind kind);

struct Error {
  ErrorKind kind = ErrorKind::kInternal;
  std::string code{};     // stable and machine-readable, e.g. "workspace.not_a_repository"
  std::string message{};  // one sentence, without secrets, headers, bodies or whole URLs (L8, L10)
  std::string hint{};     // what to do about it; may be empty
  int sys_errno = 0;      // errno of the failing call, 0 where there is none
  std::vector<std::string> context{};  // innermost first: what each layer was doing

  // "while C: while B: message (errno text). hint"
  std::string ToString() const;
  // The same error with one more line of context. Called once per layer.
  Error With(std::string what) &&;
};

// An Error from a failed system call; captures `err` (pass errno).
Error SysError(int err, std::string code, std::string message);

template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit by design
  Result(Error error)
      : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by design

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  // Aborts where there is no value: asking without looking is a bug.
  T& value() & { return Checked(); }
  const T& value() const& { return const_cast<Result*>(this)->Checked(); }
  T&& value() && { return std::move(Checked()); }
  T& operator*() & { return Checked(); }
  const T& operator*() const& { return const_cast<Result*>(this)->Checked(); }
  T&& operator*() && { return std::move(Checked()); }
  T* operator->() { return &Checked(); }
  const T* operator->() const { return &const_cast<Result*>(this)->Checked(); }
  T value_or(T fallback) && { return has_value() ? std::move(Checked()) : std::move(fallback); }

  const Error& error() const& { return *std::get_if<1>(&state_); }
  Error&& error() && { return std::move(*std::get_if<1>(&state_)); }

 private:
  T& Checked() {
    T* value = std::get_if<0>(&state_);
    if (value == nullptr) std::abort();
    return *value;
  }
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  Result() = default;
  Result(Error error) : failed_(true), error_(std::move(error)) {}  // NOLINT: implicit by design

  bool has_value() const { return !failed_; }
  explicit operator bool() const { return has_value(); }
  void value() const {
    if (failed_) std::abort();
  }
  const Error& error() const& { return error_; }
  Error&& error() && { return std::move(error_); }

 private:
  bool failed_ = false;
  Error error_;
};

using Status = Result<void>;

}  // namespace writ

#define WRIT_CONCAT_INNER(a, b) a##b
#define WRIT_CONCAT(a, b) WRIT_CONCAT_INNER(a, b)

// WRIT_TRY(expr): returns the error of a Status from this function.
// (The names come from a counter: a lambda within `expr` may use these macros again.)
#define WRIT_TRY(expr) WRIT_TRY_INNER(WRIT_CONCAT(writ_status_, __COUNTER__), expr)
#define WRIT_TRY_INNER(status, expr)                                                 \
  do {                                                                               \
    if (auto status = (expr); !status.has_value()) return std::move(status).error(); \
  } while (false)

// WRIT_ASSIGN(auto x, expr): x = the value of a Result, or returns its error from this function.
#define WRIT_ASSIGN(lhs, expr) WRIT_ASSIGN_INNER(WRIT_CONCAT(writ_result_, __COUNTER__), lhs, expr)
#define WRIT_ASSIGN_INNER(tmp, lhs, expr)              \
  auto tmp = (expr);                                   \
  if (!tmp.has_value()) return std::move(tmp).error(); \
  lhs = std::move(tmp).value()
