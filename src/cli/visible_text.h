// Text of strangers for a terminal: what a guest says must not command it.
#pragma once
#include <string>
#include <string_view>

namespace ebb {

// Takes text in pieces that end anywhere, and gives what may be shown of them: lines, tabs and well-formed UTF-8 without controls
// (RFC 3629; C0 and C1 of ISO 6429). All else is shown as ^X or <9b>, ends of lines as \n.
class VisibleText final {
 public:
  std::string feed(std::string_view piece);
  // What is left of a character that will not end.
  std::string finish();

 private:
  void take(unsigned char byte, std::string& shown);
  void give_up(std::string& shown);

  std::string sequence_;    // a character that has not ended yet
  std::size_t wanted_ = 0;  // its length
};

}  // namespace ebb
