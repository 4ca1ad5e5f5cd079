/** Scripts as Esplora writes them for people: one word per opcode, pushes with their length. Nothing reads them back. */

/** Only what stands in scripts of wallets; others are numbered. */
const NAMES: Readonly<Record<number, string>> = {
  0: 'OP_0',
  79: 'OP_PUSHNUM_NEG1',
  99: 'OP_IF',
  100: 'OP_NOTIF',
  103: 'OP_ELSE',
  104: 'OP_ENDIF',
  105: 'OP_VERIFY',
  106: 'OP_RETURN',
  115: 'OP_IFDUP',
  117: 'OP_DROP',
  118: 'OP_DUP',
  124: 'OP_SWAP',
  130: 'OP_SIZE',
  135: 'OP_EQUAL',
  136: 'OP_EQUALVERIFY',
  147: 'OP_ADD',
  166: 'OP_RIPEMD160',
  168: 'OP_SHA256',
  169: 'OP_HASH160',
  170: 'OP_HASH256',
  172: 'OP_CHECKSIG',
  173: 'OP_CHECKSIGVERIFY',
  174: 'OP_CHECKMULTISIG',
  175: 'OP_CHECKMULTISIGVERIFY',
  177: 'OP_CLTV',
  178: 'OP_CSV',
  186: 'OP_CHECKSIGADD',
};

export function scriptAsm(script: Uint8Array): string {
  const words: string[] = [];
  for (let at = 0; at < script.length; ) {
    const opcode = script[at++]!;
    // OP_PUSHDATA1, 2 and 4 are followed by that many bytes of length, least significant first.
    const lengthBytes = opcode >= 76 && opcode <= 78 ? 2 ** (opcode - 76) : 0;
    if (opcode >= 1 && opcode <= 78) {
      let length = lengthBytes === 0 ? opcode : 0;
      for (let i = 0; i < lengthBytes; i++) length += (script[at + i] ?? 0) * 256 ** i;
      at += lengthBytes;
      if (at + length > script.length) return [...words, '<unexpected end>'].join(' ');
      words.push(lengthBytes === 0 ? `OP_PUSHBYTES_${opcode}` : `OP_PUSHDATA${lengthBytes}`);
      words.push(Buffer.from(script.subarray(at, at + length)).toString('hex'));
      at += length;
    } else if (opcode >= 81 && opcode <= 96) words.push(`OP_PUSHNUM_${opcode - 80}`);
    else words.push(NAMES[opcode] ?? `OP_${opcode}`);
  }
  return words.join(' ');
}
