"""Bits of a NAL unit, most significant first: fixed lengths and Exp-Golomb codes (ITU-T H.264, 7.2 and 9.1)."""


def unescape(unit: bytes) -> bytes:
    """The unit's payload without its emulation prevention bytes (7.4.1.1)."""
    if b"\0\0\3" not in unit:
        return unit
    out, zeros = bytearray(), 0
    for byte in unit:
        if zeros >= 2 and byte == 3:
            zeros = 0
            continue
        zeros = 0 if byte else zeros + 1
        out.append(byte)
    return bytes(out)


class Bits:
    """Reads from the first bit on; raises ValueError at the end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def u(self, count: int) -> int:
        """An unsigned number of `count` bits."""
        if count > self._left:
            raise ValueError("the parameter set is cut off")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def skip(self, count: int) -> None:
        if count > self._left:
            raise ValueError("the parameter set is cut off")
        self._left -= count

    def ue(self) -> int:
        """An unsigned Exp-Golomb code."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("the parameter set is damaged")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """A signed Exp-Golomb code."""
        k = self.ue()
        return (k + 1) // 2 if k & 1 else -(k // 2)
