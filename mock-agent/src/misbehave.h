// What a bad agent does: one function per mode, each a real attempt. A mode says what it did on
// stdout.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace writ::mock {

struct Mode {
  std::string_view name;
  std::string_view what;  // one line for --help
  void (*run)();
};

const std::vector<Mode>& Modes();
const Mode* FindMode(std::string_view name);

// Files (misbehave_files.cc).
void SymlinkEscape();
void HardLinks();
void PlantGitConfig();
void NestedRepository();
void SpecialFiles();
void HugeSparse();
void DeepTree();
void BadNames();
void ClosedDirectory();
void ReadHostFiles();
void SecretInPieces();

// Processes, output, network (misbehave_processes.cc).
void ForkBomb();
void IgnoreSigterm();
void BurstExit();
void EndlessOutput();
void DoubleForkSetsid();
void HoldStdout();
void StopItself();
void Crash();
void EatMemory();
void IgnoreProxy();

}  // namespace writ::mock
