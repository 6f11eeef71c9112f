#include "replies.h"

#include "writ/protocol/json.h"

namespace writ::egress {
namespace {

std::string Assemble(int status, std::string_view extra_headers, const json::Object& body,
                     ReplyShape shape) {
  std::string text = json::Write(json::Value(body)) + "\n";
  std::string out = "HTTP/1.1 " + std::to_string(status) + " ";
  out.append(StatusText(status)).append("\r\nContent-Type: application/json\r\nContent-Length: ");
  out.append(std::to_string(text.size())).append("\r\n").append(extra_headers);
  out.append(shape.after == AfterReply::kClose ? "Connection: close\r\n"
                                               : "Connection: keep-alive\r\n");
  out.append("\r\n");
  if (shape.body == ReplyBody::kSend) out.append(text);
  return out;
}

std::string_view Mend(Reason reason) {
  switch (reason) {
    case Reason::kNoRule:
      return "Name the host in the contract's allow list, within what the operator allows.";
    case Reason::kPort:
      return "The host is allowed on another port only.";
    case Reason::kLiteralAddress:
      return "Use the host's name, or have a rule name this address.";
    case Reason::kAddressClass:
      return "An operator's address grant must name the range.";
    case Reason::kBadHost:
      return "Write the host as a plain lower-case name.";
    case Reason::kNotTls:
      return "CONNECT carries TLS only, unless the rule grants raw bytes.";
    default:
      return "This target is not for jobs.";
  }
}

}  // namespace

std::string DenialReply(const Decision& decision, std::string_view host, std::uint16_t port,
                        ReplyShape shape) {
  json::Object body;
  body.Set("error", "denied by the egress policy").Set("reason", ReasonName(decision.reason));
  body.Set("rule", decision.rule_id).Set("host", host).Set("port", static_cast<int>(port));
  if (!decision.detail.empty()) body.Set("detail", decision.detail);
  body.Set("hint", Mend(decision.reason));
  std::string headers = "X-Writ-Denied: ";
  headers.append(ReasonName(decision.reason))
      .append("\r\nX-Writ-Rule: ")
      .append(decision.rule_id)
      .append("\r\n");
  return Assemble(403, headers, body, shape);
}

std::string UnauthenticatedReply(ReplyShape shape) {
  json::Object body;
  body.Set("error", "the session's proxy token is missing or wrong");
  body.Set("hint", "Use the proxy URL of the session's environment as it is.");
  return Assemble(407, "Proxy-Authenticate: Basic realm=\"writ\"\r\n", body, shape);
}

std::string RefusalReply(int status, std::string_view code, ReplyShape shape) {
  json::Object body;
  body.Set("error", "the request was refused").Set("code", code);
  std::string headers = "X-Writ-Refused: ";
  headers.append(code).append("\r\n");
  return Assemble(status, headers, body, shape);
}

std::string UpstreamFailureReply(int status, std::string_view what, std::string_view method,
                                 std::string_view host, std::uint16_t port,
                                 std::chrono::milliseconds waited, ReplyShape shape) {
  json::Object body;
  body.Set("error", "the upstream failed").Set("code", what).Set("method", method);
  body.Set("host", host).Set("port", static_cast<int>(port)).Set("waitedMs", waited.count());
  return Assemble(status, "", body, shape);
}

std::string_view TlsAccessDenied() {
  static constexpr char kAlert[] = {0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x31};
  return {kAlert, sizeof kAlert};
}

std::string_view StatusText(int status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 407:
      return "Proxy Authentication Required";
    case 408:
      return "Request Timeout";
    case 417:
      return "Expectation Failed";
    case 431:
      return "Request Header Fields Too Large";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Refused";
  }
}

}  // namespace writ::egress
