// A bundle read once, as text: no tree of the whole, each event's canonical bytes from its own
// slice.
#include <algorithm>
#include <cmath>

#include "bundle_check.h"
#include "exact_time.h"
#include "scanner.h"
#include "writ/protocol/canonical.h"

namespace writ::protocol {
namespace {

// One value to eight bytes of the limit, and one at a time to 128: bundles of events have one value
// to ten bytes and more, and each event leaves the tape once it was seen.
json::ValueLimits LimitsFor(std::size_t max_bytes) {
  max_bytes = std::max(max_bytes, kDefaultMaxBundleBytes);
  return {.in_all = max_bytes / 8, .on_tape = max_bytes / 128};
}

using json::Node;
using json::Tape;

class EventReader final : public json::ElementHook {
 public:
  EventReader(std::string_view text, BundleCheck& check) : text_(text), check_(check) {
    member = "events";
  }

  void OnElement(const Tape& tape, std::uint32_t node, std::size_t index) override {
    EventFacts facts;
    facts.index = index;
    facts.malformed = Read(tape, node, facts);
    check_.OnEvent(facts);
  }

 private:
  std::string_view Read(const Tape& tape, std::uint32_t node, EventFacts& facts) {
    if (tape[node].kind != Node::kObject) return "is not an object";
    std::uint32_t version = 0, seq = 0, ts = 0, prev = 0, event = 0, hash = 0;
    bool unknown = false;
    for (std::uint32_t name = node + 1; name < tape[node].next; name = tape[name + 1].next) {
      const std::string_view text = Text(tape[name], name_);
      std::uint32_t* slot = text == "version" ? &version
                            : text == "seq"   ? &seq
                            : text == "ts"    ? &ts
                            : text == "prev"  ? &prev
                            : text == "event" ? &event
                            : text == "hash"  ? &hash
                                              : nullptr;
      if (slot == nullptr)
        unknown = true;
      else
        *slot = name + 1;
    }
    if (event != 0) ReadBody(tape, event, facts);
    std::string_view wrong;
    const auto complain = [&](std::string_view what) {
      if (wrong.empty()) wrong = what;
    };
    if (version == 0 || tape[version].kind != Node::kString ||
        Text(tape[version], scratch_) != kEventVersion)
      complain("is not of version warrant.event.v1");
    if (!ReadSeq(tape, seq, facts.seq)) complain("has no sequence number");
    if (ts != 0 && tape[ts].kind == Node::kString) facts.ts_text = Text(tape[ts], ts_);
    if (const auto time = ExactTime(facts.ts_text))
      facts.ts = *time;
    else
      complain("has no time in the protocol's form");
    if (!ReadDigest(tape, prev, facts.prev)) complain("has no hash of its predecessor");
    if (!ReadDigest(tape, hash, facts.stated)) complain("has no hash");
    if (event == 0 || tape[event].kind != Node::kObject || facts.type.empty())
      complain("has no typed body");
    if (unknown) complain("has a member that its hash does not cover");
    if (!wrong.empty()) return wrong;
    bytes_.assign("{\"event\":");
    json::AppendCanonicalAt(text_, tape, event, bytes_);
    bytes_.append(",\"prev\":");
    json::AppendCanonicalAt(text_, tape, prev, bytes_);
    bytes_.append(",\"seq\":");
    json::AppendCanonicalAt(text_, tape, seq, bytes_);
    bytes_.append(",\"ts\":");
    json::AppendCanonicalAt(text_, tape, ts, bytes_);
    bytes_.push_back('}');
    hasher_.Update(bytes_);
    facts.computed = hasher_.Finish();
    return {};
  }

  void ReadBody(const Tape& tape, std::uint32_t event, EventFacts& facts) {
    const std::uint32_t type = json::MemberAt(text_, tape, event, "type");
    if (type == 0 || tape[type].kind != Node::kString) return;
    facts.type = Text(tape[type], type_);
    const EventFields* fields = FieldsOf(facts.type);
    if (fields == nullptr) return;
    for (std::size_t i = 0; i < fields->names.size() && !fields->names[i].empty(); ++i) {
      const std::uint32_t field = json::MemberAt(text_, tape, event, fields->names[i]);
      if (field != 0 && tape[field].kind == Node::kString)
        facts.fields[i] = Text(tape[field], fields_[i]);
    }
  }

  bool ReadSeq(const Tape& tape, std::uint32_t node, std::uint64_t& seq) const {
    if (node == 0 || tape[node].kind != Node::kNumber) return false;
    const std::string_view digits =
        text_.substr(tape[node].begin, tape[node].end - tape[node].begin);
    if (!tape[node].flagged && digits[0] != '-') {
      seq = 0;
      for (const char c : digits) seq = seq * 10 + static_cast<std::uint64_t>(c - '0');
      return true;
    }
    double number = 0;
    json::ReadNumber(digits, number);
    if (number < 0 || number > static_cast<double>(json::kMaxSafeInteger) ||
        std::trunc(number) != number)
      return false;
    seq = static_cast<std::uint64_t>(number);
    return true;
  }

  bool ReadDigest(const Tape& tape, std::uint32_t node, Digest& digest) {
    if (node == 0 || tape[node].kind != Node::kString) return false;
    Result<Digest> parsed = Digest::Parse(Text(tape[node], scratch_));
    if (parsed) digest = *parsed;
    return parsed.has_value();
  }

  // The decoded text; in `scratch` only where it has escapes.
  std::string_view Text(const Node& node, std::string& scratch) const {
    if (!node.flagged) return text_.substr(node.begin, node.end - node.begin);
    scratch = json::DecodeText(text_, node);
    return scratch;
  }

  std::string_view text_;
  BundleCheck& check_;
  std::string bytes_, name_, scratch_, type_, ts_, fields_[3];
  Sha256Hasher hasher_;
};

}  // namespace

VerifyReport VerifyBundle(std::string_view text, const VerifyOptions& options) {
  BundleCheck check(options);
  EventReader reader(text, check);
  Tape tape;
  json::Scanner scanner(text, {.max_bytes = options.max_bytes}, &reader,
                        LimitsFor(options.max_bytes));
  if (!scanner.Scan(tape)) {
    check.Refuse(scanner.error().code, scanner.error().message);
    return check.TakeRefusal();
  }
  if (tape[0].kind != Node::kObject) {
    check.Refuse("bundle.malformed", "not a bundle: the JSON is not an object");
    return check.TakeRefusal();
  }
  json::Value version, contract, receipt, keys;
  BundleCheck::Envelopes envelopes;
  for (std::uint32_t name = 1; name < tape[0].next; name = tape[name + 1].next) {
    const std::string member = json::DecodeText(text, tape[name]);
    const std::uint32_t node = name + 1;
    const auto take = [&](json::Value& into, const json::Value*& slot) {
      into = json::ValueAt(text, tape, node);
      slot = &into;
    };
    if (member == "version") {
      take(version, envelopes.version);
    } else if (member == "contract") {
      take(contract, envelopes.contract);
    } else if (member == "receipt") {
      take(receipt, envelopes.receipt);
    } else if (member == "keys") {
      take(keys, envelopes.keys);
    } else if (member == "events") {
      envelopes.events_are_array = tape[node].kind == Node::kArray;
      // On the tape are only elements that the hook did not see (a name written with escapes).
      std::size_t index = 0;
      if (envelopes.events_are_array) {
        for (std::uint32_t child = node + 1; child < tape[node].next; child = tape[child].next)
          reader.OnElement(tape, child, index++);
      }
    } else {
      envelopes.unknown.push_back(member);
    }
  }
  return check.Finish(envelopes);
}

}  // namespace writ::protocol
