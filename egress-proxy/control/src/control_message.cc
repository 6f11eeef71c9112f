#include "writ/egress/control_message.h"

#include <utility>

#include "writ/protocol/json.h"
#include "writ/protocol/reader.h"
#include "writ/protocol/words.h"

namespace writ::egress {
namespace {

using json::EnumName;

constexpr EnumName<ListenerReach> kReaches[] = {{ListenerReach::kShared, "shared"},
                                                {ListenerReach::kPrivate, "private"}};
constexpr EnumName<Protocol> kProtocols[] = {
    {Protocol::kHttp, "http"}, {Protocol::kConnect, "connect"}, {Protocol::kSocks, "socks"}};

struct CounterName {
  std::uint64_t Counters::*member;
  const char* name;
};
constexpr CounterName kCounters[] = {
    {&Counters::accepted, "accepted"},
    {&Counters::closed, "closed"},
    {&Counters::requests, "requests"},
    {&Counters::allowed, "allowed"},
    {&Counters::denied, "denied"},
    {&Counters::malformed, "malformed"},
    {&Counters::unauthenticated, "unauthenticated"},
    {&Counters::foreign_peer, "foreignPeer"},
    {&Counters::overloaded, "overloaded"},
    {&Counters::sni_refused, "sniRefused"},
    {&Counters::upstream_failed, "upstreamFailed"},
    {&Counters::flows_closed, "flowsClosed"},
    {&Counters::bytes_up, "bytesUp"},
    {&Counters::bytes_down, "bytesDown"},
    {&Counters::events, "events"},
};

// Encoding: one overload per message, each sets "type" first.
json::Object Members(const ConfigureMessage&) {
  return {{"type", "configure"}};
}
json::Object Members(const StopMessage&) {
  return {{"type", "stop"}};
}
json::Object Members(const ReadyMessage&) {
  return {{"type", "ready"}};
}
json::Object Members(const ListenerMessage& m) {
  json::Object out{{"type", "listener"}};
  out.Set("id", m.id).Set("reach", m.reach == ListenerReach::kShared ? "shared" : "private");
  return out;
}
json::Object Members(const FailedMessage& m) {
  json::Object out{{"type", "failed"}};
  out.Set("code", m.code).Set("message", m.message);
  return out;
}
json::Object Members(const ListeningMessage& m) {
  json::Object out{{"type", "listening"}};
  out.Set("id", m.id);
  return out;
}
json::Object Members(const ListenerRefusedMessage& m) {
  json::Object out{{"type", "listener-refused"}};
  out.Set("id", m.id).Set("code", m.code).Set("message", m.message);
  return out;
}
json::Object Members(const DecisionEvent& m) {
  json::Object out{{"type", "decision"}};
  out.Set("seq", m.seq).Set("flow", m.flow);
  out.Set("protocol", protocol::WordIn(kProtocols, m.protocol));
  out.Set("host", m.host).Set("port", static_cast<int>(m.port)).Set("allowed", m.allowed);
  out.Set("reason", ReasonName(m.reason)).Set("rule", m.rule_id).Set("detail", m.detail);
  out.Set("addresses", json::Value::Texts(m.addresses));
  return out;
}
json::Object Members(const FlowEvent& m) {
  json::Object out{{"type", "flow"}};
  out.Set("seq", m.seq).Set("flow", m.flow);
  out.Set("host", m.host).Set("port", static_cast<int>(m.port)).Set("rule", m.rule_id);
  out.Set("dialled", m.dialled).Set("bytesUp", m.bytes_up).Set("bytesDown", m.bytes_down);
  out.Set("durationUs", m.duration_us).Set("close", m.close_reason);
  return out;
}
json::Object Members(const RefusalEvent& m) {
  json::Object out{{"type", "refusal"}};
  out.Set("seq", m.seq)
      .Set("reason", ReasonName(m.reason))
      .Set("code", m.code)
      .Set("status", m.status);
  return out;
}
json::Object CounterMembers(const Counters& counters) {
  json::Object out;
  for (const CounterName& entry : kCounters) out.Set(entry.name, counters.*entry.member);
  return out;
}
json::Object Members(const CountersMessage& m) {
  json::Object out{{"type", "counters"}};
  out.Set("counters", CounterMembers(m.counters));
  return out;
}
json::Object Members(const ClosedMessage& m) {
  json::Object out{{"type", "closed"}};
  out.Set("counters", CounterMembers(m.counters));
  out.Set("resolverOverrides", json::Value::Texts(m.resolver_overrides));
  return out;
}

std::uint64_t Count(json::ObjectReader& reader, std::string_view name) {
  return static_cast<std::uint64_t>(reader.Integer(name));
}

std::uint16_t Port(json::ObjectReader& reader) {
  return static_cast<std::uint16_t>(reader.Integer("port", 0, 65535));
}

Reason ReadReason(json::ObjectReader& reader) {
  auto reason = ParseReason(reader.String("reason"));
  if (!reason)
    reader.issues().Add("object.enum", reader.PointerOf("reason"), "must be a known reason");
  return reason.value_or(Reason::kMalformed);
}

Counters ReadCounters(json::ObjectReader reader) {
  Counters counters;
  for (const CounterName& entry : kCounters) counters.*entry.member = Count(reader, entry.name);
  reader.RefuseUnknown();
  return counters;
}

DecisionEvent ReadDecision(json::ObjectReader& reader) {
  DecisionEvent event;
  event.seq = Count(reader, "seq");
  event.flow = Count(reader, "flow");
  event.protocol = reader.Enum("protocol", kProtocols);
  event.host = reader.String("host");
  event.port = Port(reader);
  event.allowed = reader.Bool("allowed");
  event.reason = ReadReason(reader);
  event.rule_id = reader.String("rule");
  event.detail = reader.String("detail");
  event.addresses = reader.Strings("addresses");
  return event;
}

FlowEvent ReadFlow(json::ObjectReader& reader) {
  FlowEvent event;
  event.seq = Count(reader, "seq");
  event.flow = Count(reader, "flow");
  event.host = reader.String("host");
  event.port = Port(reader);
  event.rule_id = reader.String("rule");
  event.dialled = reader.String("dialled");
  event.bytes_up = Count(reader, "bytesUp");
  event.bytes_down = Count(reader, "bytesDown");
  event.duration_us = Count(reader, "durationUs");
  event.close_reason = reader.String("close");
  return event;
}

RefusalEvent ReadRefusal(json::ObjectReader& reader) {
  RefusalEvent event;
  event.seq = Count(reader, "seq");
  event.reason = ReadReason(reader);
  event.code = reader.String("code");
  event.status = static_cast<int>(reader.Integer("status", 0, 599));
  return event;
}

Error Unknown() {
  return Error{ErrorKind::kInvalid, "egress.control_message", "a control message of no known type"};
}

template <typename Message>
Result<Message> Finish(json::ObjectReader& reader, Message message) {
  reader.RefuseUnknown();
  WRIT_TRY(reader.issues().ToStatus("a control message"));
  return message;
}

Result<json::Value> ParseMessage(std::string_view bytes) {
  json::ParseOptions options;
  options.max_depth = 8;
  options.max_bytes = kMaxControlMessage;
  return json::Parse(bytes, options);
}

}  // namespace

std::string Encode(const RunnerMessage& message) {
  return std::visit([](const auto& m) { return json::Write(json::Value(Members(m))); }, message);
}

std::string Encode(const ProxyMessage& message) {
  return std::visit([](const auto& m) { return json::Write(json::Value(Members(m))); }, message);
}

Result<RunnerMessage> DecodeRunnerMessage(std::string_view bytes) {
  WRIT_ASSIGN(json::Value document, ParseMessage(bytes));
  json::Issues issues;
  json::ObjectReader reader(issues, document);
  std::string type = reader.String("type");
  if (type == "configure") return Finish<RunnerMessage>(reader, ConfigureMessage{});
  if (type == "stop") return Finish<RunnerMessage>(reader, StopMessage{});
  if (type == "listener") {
    ListenerMessage message;
    message.id = Count(reader, "id");
    message.reach = reader.Enum("reach", kReaches);
    return Finish<RunnerMessage>(reader, message);
  }
  return Unknown();
}

Result<ProxyMessage> DecodeProxyMessage(std::string_view bytes) {
  WRIT_ASSIGN(json::Value document, ParseMessage(bytes));
  json::Issues issues;
  json::ObjectReader reader(issues, document);
  std::string type = reader.String("type");
  if (type == "decision") return Finish<ProxyMessage>(reader, ReadDecision(reader));
  if (type == "flow") return Finish<ProxyMessage>(reader, ReadFlow(reader));
  if (type == "refusal") return Finish<ProxyMessage>(reader, ReadRefusal(reader));
  if (type == "ready") return Finish<ProxyMessage>(reader, ReadyMessage{});
  if (type == "failed") {
    FailedMessage message{reader.String("code"), reader.String("message")};
    return Finish<ProxyMessage>(reader, std::move(message));
  }
  if (type == "listening")
    return Finish<ProxyMessage>(reader, ListeningMessage{Count(reader, "id")});
  if (type == "listener-refused") {
    ListenerRefusedMessage message{Count(reader, "id"), reader.String("code"),
                                   reader.String("message")};
    return Finish<ProxyMessage>(reader, std::move(message));
  }
  if (type == "counters")
    return Finish<ProxyMessage>(reader, CountersMessage{ReadCounters(reader.Child("counters"))});
  if (type == "closed") {
    ClosedMessage message{ReadCounters(reader.Child("counters")),
                          reader.Strings("resolverOverrides")};
    return Finish<ProxyMessage>(reader, std::move(message));
  }
  return Unknown();
}

}  // namespace writ::egress
