// What the metadata of a PNG tells of its pixels.
#pragma once

#include <string>
#include <string_view>

#include "image.hpp"

// Of its ancillary chunks. Damaged or unknown ones count for nothing.
class Metadata {
  public:
    void add(std::string_view type, std::string_view data);

    // 1 to 8, as EXIF counts; 1 is upright.
    int orientation() const;

    // Of each sample; 0 where nothing is said.
    int significant_bits() const { return significant_bits_; }

  private:
    void add_text(std::string_view type, std::string_view data);

    std::string exif_, exif_in_hex_, xmp_;
    int significant_bits_ = 0;
};

// The picture turned so that it stands as it was meant to.
Image upright(Image image, int orientation);
