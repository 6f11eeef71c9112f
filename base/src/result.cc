#include "writ/base/result.h"

#include <cstring>

namespace writ {

std::string_view ErrorKindName(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalid:
      return "invalid";
    case ErrorKind::kDenied:
      return "denied";
    case ErrorKind::kNotFound:
      return "not_found";
    case ErrorKind::kUnavailable:
      return "unavailable";
    case ErrorKind::kOverloaded:
      return "overloaded";
    case ErrorKind::kUnsupported:
      return "unsupported";
    case ErrorKind::kConflict:
      return "conflict";
    case ErrorKind::kIntegrity:
      return "integrity";
    case ErrorKind::kCancelled:
      return "cancelled";
    case ErrorKind::kInternal:
      return "internal";
  }
  return "internal";
}

std::string Error::ToString() const {
  std::string out;
  for (auto it = context.rbegin(); it != context.rend(); ++it) out += *it + ": ";
  out += message;
  if (sys_errno != 0) {
    char text[128];
    out += std::string(" (") + strerror_r(sys_errno, text, sizeof text) + ")";
  }
  if (!hint.empty()) out += ". " + hint;
  return out;
}

Error Error::With(std::string what) && {
  context.push_back(std::move(what));
  return std::move(*this);
}

Error SysError(int err, std::string code, std::string message) {
  ErrorKind kind = ErrorKind::kInternal;
  if (err == ENOENT) kind = ErrorKind::kNotFound;
  if (err == EACCES || err == EPERM) kind = ErrorKind::kDenied;
  if (err == EAGAIN || err == ECONNREFUSED || err == ETIMEDOUT) kind = ErrorKind::kUnavailable;
  if (err == ENOSYS || err == EOPNOTSUPP) kind = ErrorKind::kUnsupported;
  if (err == EEXIST) kind = ErrorKind::kConflict;
  Error error;
  error.kind = kind;
  error.code = std::move(code);
  error.message = std::move(message);
  error.sys_errno = err;
  return error;
}

}  // namespace writ
