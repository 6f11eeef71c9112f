#include "writ/backends/microvm/pages/words.h"

#include <array>
#include <cstring>
#include <limits>
#include <utility>

#include "writ/backends/launch/wire.h"

namespace writ::backends::microvm::pages {
namespace {

using launch::Reader;
using launch::Writer;

constexpr auto kLastKind = static_cast<std::uint64_t>(ErrorKind::kInternal);
constexpr std::uint64_t kMaxId = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t kMaxSentence = 2048;

// Calls `each` with every number of `counters`, in the order of the wire.
template <typename Fields, typename Each>
void EachNumber(Fields& counters, Each each) {
  for (auto* number :
       {&counters.faults, &counters.bytes_file, &counters.bytes_zero, &counters.bytes_prefetched,
        &counters.prefetched_pages, &counters.sampled, &counters.sampled_touched, &counters.present,
        &counters.again, &counters.removed_pages, &counters.hashed_leaves})
    each(*number);
  for (auto& number : counters.latency) each(number);
}

void Put(Writer& out, const FaultCounters& counters) {
  EachNumber(counters, [&](std::uint64_t number) { out.Number(number); });
}
FaultCounters TakeCounters(Reader& in) {
  FaultCounters counters;
  EachNumber(counters, [&](std::uint64_t& number) { number = in.Number(); });
  return counters;
}

void Put(Writer& out, const Failed& failed) {
  out.Number(static_cast<std::uint64_t>(failed.kind));
  out.Text(failed.code);
  out.Text(failed.message);
}
Failed TakeFailed(Reader& in) {
  Failed failed;
  failed.kind = static_cast<ErrorKind>(in.NumberAtMost(kLastKind));
  failed.code = in.Text();
  failed.message = in.Text();
  return failed;
}

struct Body {
  Writer& out;
  void operator()(const Serve& serve) const {
    out.Number(static_cast<std::uint64_t>(serve.by));
    out.Number(serve.cpu ? std::uint64_t{*serve.cpu} + 1 : 0);
    out.Number(serve.waits ? 1 : 0);
  }
  void operator()(const GoesOn&) const {}
  void operator()(const AskCounters&) const {}
  void operator()(const Ready&) const {}
  void operator()(const Attached& attached) const {
    for (std::uint64_t n : {attached.pid, attached.regions, attached.ram_bytes}) out.Number(n);
  }
  void operator()(const Failed& failed) const { Put(out, failed); }
  void operator()(const Counters& counters) const { Put(out, counters.counters); }
  void operator()(const Over& over) const {
    out.Number(over.vmm_ended ? 1 : 0);
    Put(out, over.counters);
  }
  void operator()(const OpenSnapshot& open) const {
    out.Number(open.id);
    out.Number(open.memory_bytes);
    out.Text({reinterpret_cast<const char*>(open.root.bytes().data()), open.root.bytes().size()});
  }
  void operator()(const AddClone& add) const {
    out.Number(add.snapshot);
    out.Number(add.vmm_uid);
  }
  void operator()(const CloseSnapshot& close) const { out.Number(close.id); }
  void operator()(const Done&) const {}
};

template <typename Word>
std::string EncodeWord(const Word& word) {
  Writer out;
  out.Number(word.index());
  std::visit(Body{out}, word);
  return out.Take();
}

template <typename Word>
Result<Word> Whole(const Reader& in, Word word) {
  if (!in.AtEnd())
    return Error{ErrorKind::kInvalid, "pages.word",
                 "a message to or from a page server is not what was agreed"};
  return word;
}

OpenSnapshot TakeOpen(Reader& in) {
  OpenSnapshot open;
  open.id = in.Number();
  open.memory_bytes = in.Number();
  const std::string root = in.Text();
  std::array<std::uint8_t, 32> bytes{};
  if (root.size() == bytes.size())
    std::memcpy(bytes.data(), root.data(), bytes.size());
  else
    in.Fail();
  open.root = protocol::Digest(bytes);
  return open;
}

Serve TakeServe(Reader& in) {
  Serve serve;
  serve.by = static_cast<Serve::By>(in.NumberAtMost(1));
  if (const std::uint64_t cpu = in.NumberAtMost(kMaxId); cpu != 0)
    serve.cpu = static_cast<std::uint32_t>(cpu - 1);
  serve.waits = in.NumberAtMost(1) == 1;
  return serve;
}

}  // namespace

std::string Encode(const OwnerWord& word) {
  return EncodeWord(word);
}
std::string Encode(const ClonesWord& word) {
  return EncodeWord(word);
}
std::string Encode(const RunnerWord& word) {
  return EncodeWord(word);
}
std::string Encode(const ServiceWord& word) {
  return EncodeWord(word);
}

Result<OwnerWord> DecodeOwnerWord(std::string_view bytes) {
  Reader in(bytes);
  OwnerWord word = AskCounters{};
  const std::uint64_t which = in.NumberAtMost(std::variant_size_v<OwnerWord> - 1);
  if (which == 0) word = TakeServe(in);
  if (which == 2) word = GoesOn{};
  return Whole(in, std::move(word));
}

Result<ClonesWord> DecodeClonesWord(std::string_view bytes) {
  Reader in(bytes);
  ClonesWord word;
  switch (in.NumberAtMost(std::variant_size_v<ClonesWord> - 1)) {
    case 0:
      break;
    case 1: {
      Attached attached;
      for (std::uint64_t* n : {&attached.pid, &attached.regions, &attached.ram_bytes})
        *n = in.Number();
      word = attached;
      break;
    }
    case 2:
      word = TakeFailed(in);
      break;
    case 3:
      word = Counters{TakeCounters(in)};
      break;
    default: {
      Over over;
      over.vmm_ended = in.NumberAtMost(1) == 1;
      over.counters = TakeCounters(in);
      word = over;
    }
  }
  return Whole(in, std::move(word));
}

Result<RunnerWord> DecodeRunnerWord(std::string_view bytes) {
  Reader in(bytes);
  RunnerWord word;
  switch (in.NumberAtMost(std::variant_size_v<RunnerWord> - 1)) {
    case 0:
      word = TakeOpen(in);
      break;
    case 1: {
      AddClone add;
      add.snapshot = in.Number();
      add.vmm_uid = in.NumberAtMost(kMaxId);
      word = add;
      break;
    }
    default:
      word = CloseSnapshot{in.Number()};
  }
  return Whole(in, std::move(word));
}

Result<ServiceWord> DecodeServiceWord(std::string_view bytes) {
  Reader in(bytes);
  ServiceWord word;
  if (in.NumberAtMost(std::variant_size_v<ServiceWord> - 1) == 1) word = TakeFailed(in);
  return Whole(in, std::move(word));
}

Failed ToFailed(const Error& error) {
  return {error.kind, error.code.substr(0, kMaxSentence), error.ToString().substr(0, kMaxSentence)};
}

Error ToError(const Failed& failed) {
  return Error{failed.kind, failed.code, failed.message};
}

}  // namespace writ::backends::microvm::pages
