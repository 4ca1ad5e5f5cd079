/**
 * MurmurHash3 (32 bit, x86) in JavaScript, in place of the native addon of the same name, which needs a compiler to
 * install. The Bitcoin engine of the devnet uses it for bloom filters only; nothing of ours asks for those.
 */

exports.sum = (data, seed) => {
  const words = data.length >>> 2;
  let hash = seed >>> 0;
  for (let word = 0; word < words; word++) {
    hash ^= scramble(data.readUInt32LE(word * 4));
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  let rest = 0;
  for (let at = data.length - 1; at >= words * 4; at--) rest = (rest << 8) | data[at];
  hash ^= scramble(rest) ^ data.length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
};

exports.tweak = (data, n, tweak) => exports.sum(data, (Math.imul(n, 0xfba4c795) + tweak) >>> 0);

function scramble(word) {
  const low = Math.imul(word, 0xcc9e2d51);
  return Math.imul((low << 15) | (low >>> 17), 0x1b873593);
}
