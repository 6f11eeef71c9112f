// The event chain: continuing, refusing, time.
#include "support.h"

namespace writ::protocol {
namespace {

const Digest kGenesis = Sha256("contract");

TEST(EventChain, TimeNeverRunsBackwardsWhateverTheClockDoes) {
  EventChain chain(kGenesis);
  EXPECT_EQ(chain.Append(WallTime{5000}, events::RunCreated()).ts.unix_ms, 5000);
  EXPECT_EQ(chain.Append(WallTime{1000}, events::RunCompleted()).ts.unix_ms, 5000);
  EXPECT_EQ(chain.Append(WallTime{6000}, events::RunCompleted()).ts.unix_ms, 6000);
}

TEST(EventChain, TheRunnerContinuesWhatThePlaneBegan) {
  EventChain plane(kGenesis);
  std::vector<Event> sent = {plane.Append(WallTime{1}, events::RunCreated()),
                             plane.Append(WallTime{2}, events::PolicyEvaluated("allow", "ok"))};
  Result<EventChain> runner = EventChain::FromEvents(kGenesis, sent);
  ASSERT_TRUE(runner);
  sent.push_back(runner->Append(WallTime{3}, events::RunCompleted()));
  EXPECT_EQ(sent.back().seq, 2u);
  EXPECT_TRUE(EventChain::FromEvents(kGenesis, sent));
  EXPECT_TRUE(plane.Accept(sent.back()));
  EXPECT_EQ(EventChain(runner->head()).head().head, sent.back().hash)
      << "the journal's head continues the same chain";
}

TEST(EventChain, RefusesGapsForeignAndChangedEvents) {
  EventChain writer(kGenesis);
  const Event first = writer.Append(WallTime{1}, events::RunCreated()),
              second = writer.Append(WallTime{2}, events::RunCompleted());
  const auto code = [](EventChain chain, const Event& event) {
    const Status status = chain.Accept(event);
    return status ? std::string("ok") : status.error().code;
  };
  EventChain chain(kGenesis);
  EXPECT_EQ(code(chain, second), "chain.sequence_gap");
  EXPECT_EQ(code(EventChain(Sha256("other")), first), "chain.prev_mismatch");
  ASSERT_TRUE(chain.Accept(first));
  EXPECT_EQ(code(chain, first), "chain.sequence_gap") << "a replay";
  Event changed = second;
  changed.event = events::RunFailed(FailureClass::kSessionFailed, "x");
  EXPECT_EQ(code(chain, changed), "chain.hash_mismatch");
  EXPECT_EQ(code(chain, second), "ok");
}

TEST(Event, RefusesMembersThatItsHashDoesNotCover) {
  json::Value value = EventChain(kGenesis).Append(WallTime{1}, events::RunCreated()).ToJson();
  EXPECT_TRUE(Event::Parse(value));
  value.object().Set("note", "x");
  EXPECT_EQ(Event::Parse(value).error().code, "object.unknown");
}

TEST(Receipt, NeedsATerminalEvent) {
  const test::MadeRun run = test::MakeRun({});
  std::vector<Event> open(run.events.begin(), run.events.end() - 1);
  EXPECT_EQ(ReceiptFromEvents(run.contract, open, {}).error().code, "receipt.chain_not_terminal");
}

// The receipt's diff is against the base commit. Of a run that takes the requester's own changes
// back there is none, only the change from input to output.
TEST(Receipt, NamesNoDiffWhereTheOutputIsTheBase) {
  const Digest whole = Sha256("whole"), delta = Sha256("delta");
  const auto first_diff = [](std::vector<std::pair<Digest, std::string_view>> artifacts) {
    EventChain chain(kGenesis);
    std::vector<Event> events;
    for (const auto& [digest, data_class] : artifacts) {
      events.push_back(
          chain.Append(WallTime{1}, events::ArtifactCreated(ArtifactKind::kDiff, digest)));
      events.push_back(
          chain.Append(WallTime{1}, events::BoundaryCrossed(Direction::kOut, digest, data_class)));
    }
    return Summarize(events).first_diff;
  };
  EXPECT_EQ(first_diff({{whole, kDataClassCodeDiff}, {delta, kDataClassCodeDelta}}), whole);
  EXPECT_EQ(first_diff({{delta, kDataClassCodeDelta}}), std::nullopt);
  EXPECT_EQ(first_diff({{whole, kDataClassCodeDiff}, {whole, kDataClassCodeDelta}}), whole);
}

TEST(Receipt, IsCountersignedOnlyOverTheEnrolledRunnersSignature) {
  const test::MadeRun run = test::MakeRun({});
  Receipt receipt = run.receipt;
  EXPECT_EQ(
      CountersignAsPlane(receipt, test::Key("stranger").Public(), test::Key("plane")).error().code,
      "receipt.runner_signature");
  receipt.raw.object().Set("status", "failed");
  EXPECT_EQ(
      CountersignAsPlane(receipt, test::Key("runner").Public(), test::Key("plane")).error().code,
      "receipt.runner_signature");
}

TEST(Receipt, SignedTwiceByThePlaneHasOneCountersignature) {
  test::MadeRun run = test::MakeRun({});
  ASSERT_TRUE(CountersignAsPlane(run.receipt, test::Key("runner").Public(), test::Key("plane")));
  EXPECT_EQ(run.receipt.signatures.size(), 2u);
}

TEST(Events, UnavailableCountersAreSaidNotInvented) {
  const json::Value closed = events::NetworkClosed({.flows = 2,
                                                    .bytes_out = 10,
                                                    .bytes_in = 20,
                                                    .blocked = 1,
                                                    .kernel_connections = 2,
                                                    .kernel_bytes_out = {},
                                                    .kernel_bytes_in = {}});
  EXPECT_EQ(*closed.Find("kernelConnections"), json::Value(2));
  EXPECT_EQ(*closed.Find("kernelBytesIn"), json::Value("unavailable"));
}

TEST(Words, EveryWordReadsBackAsItself) {
  for (const auto& entry : kFailureClassTable)
    EXPECT_EQ(ParseFailureClass(Word(entry.value)), entry.value);
  for (const auto& entry : kDisclosureTable)
    EXPECT_EQ(ParseDisclosure(Word(entry.value)), entry.value);
  for (const auto& entry : kRunStateTable) EXPECT_EQ(ParseRunState(Word(entry.value)), entry.value);
  EXPECT_FALSE(ParseTier("hermetic"))
      << "words of other planes are mapped by configuration, not guessed";
}

}  // namespace
}  // namespace writ::protocol
