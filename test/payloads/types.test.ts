import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DescriptorSets, faultOf } from '../../src/payloads/descriptor-sets.ts';
import { packJson } from '../../src/payloads/json.ts';
import { PayloadTypes } from '../../src/payloads/payload-types.ts';
import { describe as describePayload, TEXT_MAX } from '../../src/payloads/text.ts';
import { descriptorSet, file, message } from '../support/descriptors.ts';

const placed = descriptorSet(file('shop.proto', 'shop', message('Placed', 'order_no', 'customer')));
const types = (...sets: Uint8Array[]) => new PayloadTypes(sets.map((bytes, i) => ({ source: `set ${i}`, bytes })));

describe('a payload', () => {
  test('becomes canonical JSON and back', () => {
    const known = types(placed);
    const payload = known.encode('shop.Placed', '{"orderNo":"A-1","customer":"Ada"}');
    assert.equal(payload.typeUrl, 'type.googleapis.com/shop.Placed');
    assert.deepEqual(known.decode(payload), { orderNo: 'A-1', customer: 'Ada' });
    // The names of the proto file are understood, too.
    assert.deepEqual(known.encode('shop.Placed', '{"order_no":"A-1","customer":"Ada"}').value, payload.value);
  });

  test('of a type that nobody told, or with other bytes, is not decoded', () => {
    assert.equal(types(placed).decode({ typeUrl: 'x/shop.Unknown', value: new Uint8Array() }), undefined);
    assert.equal(types(placed).decode({ typeUrl: 'x/shop.Placed', value: Uint8Array.of(0xff) }), undefined);
    assert.equal(
      describePayload({ typeUrl: 'x/shop.Unknown', value: new Uint8Array(3) }, types(placed)),
      'shop.Unknown (3 bytes)',
    );
  });

  test('within another, as an Any, is decoded; of an unknown type people see its type', () => {
    const set = descriptorSet({
      ...file(
        'wrap.proto',
        'wrap',
        message('Wrapped', 'inner: .google.protobuf.Any', 'at: .google.protobuf.Timestamp'),
      ),
      // Left out of the set, as protoc does without --include_imports.
      dependency: ['google/protobuf/any.proto', 'google/protobuf/timestamp.proto'],
    });
    const known = types(set, placed);
    const json = { inner: { '@type': 'type.googleapis.com/shop.Placed', customer: 'Ada' }, at: '2026-01-01T00:00:00Z' };
    const payload = known.encode('wrap.Wrapped', JSON.stringify(json));
    assert.deepEqual(known.decode(payload), json);
    const without = types(set);
    assert.equal(without.decode(payload), undefined);
    assert.deepEqual(without.show(payload), { ...json, inner: { '@type': 'type.googleapis.com/shop.Placed' } });
  });

  test('of a type whose parts are named relative to it is decoded; the innermost scope that knows a name counts', () => {
    const known = types(
      descriptorSet(
        file('money.proto', 'shop', message('Money', 'shop'), message('Line', 'outer')),
        {
          ...file('order.proto', 'shop.v1', message('Line', 'sku'), {
            ...message('Order', 'line: Line', 'price: Money', 'own: Own', 'full: shop.Line'),
            nestedType: [{ ...message('Own', 'line: Line'), nestedType: [message('Line', 'inner')] }],
          } as never),
          dependency: ['money.proto'],
          service: [{ name: 'Orders', method: [{ name: 'Place', inputType: 'Order', outputType: 'v1.Line' }] }],
        },
        file('bare.proto', '', message('Bare', 'other: Other'), message('Other', 'x')),
      ),
    );
    assert.deepEqual(known.complaints, []);
    const order = { line: { sku: 'a' }, price: { shop: 'b' }, own: { line: { inner: 'c' } }, full: { outer: 'd' } };
    assert.deepEqual(known.decode(known.encode('shop.v1.Order', JSON.stringify(order))), order);
    assert.deepEqual(known.decode(known.encode('Bare', '{"other":{"x":"e"}}')), { other: { x: 'e' } });
    // Named relatively or in full, it is the same type.
    const relative = descriptorSet(file('a.proto', 'p', message('A'), message('B', 'a: A')));
    const full = descriptorSet(file('a.proto', 'p', message('A'), message('B', 'a: .p.A')));
    assert.deepEqual(types(relative, full).complaints, []);
  });

  test('that is JSON is its own text; a long one is cut', () => {
    assert.equal(describePayload(packJson('shop.Odd', '{"a": 1}'), undefined), 'shop.Odd {"a": 1}');
    const text = describePayload(packJson('shop.Long', 'x'.repeat(100_000)), undefined);
    assert.equal(text.length, 'shop.Long '.length + TEXT_MAX);
    assert(text.endsWith('…'));
  });

  test('nested beyond measure is no crash', () => {
    const set = descriptorSet(file('deep.proto', 'deep', message('Deep', 'deep: .deep.Deep')));
    let value = new Uint8Array();
    for (let i = 0; i < 1500; i++) {
      const length = value.length < 128 ? [value.length] : [(value.length & 0x7f) | 0x80, value.length >> 7];
      value = Uint8Array.from([10, ...length, ...value]);
    }
    assert.doesNotThrow(() => types(set).show({ typeUrl: 'x/deep.Deep', value }));
  });

  test('is found by the end of its name', () => {
    const known = types(placed, descriptorSet(file('b.proto', 'stock.v1', message('Placed'), message('Taken'))));
    assert.deepEqual(known.named('shop.Placed'), ['shop.Placed']);
    assert.deepEqual(known.named('Taken'), ['stock.v1.Taken']);
    assert.deepEqual(known.named('Placed'), ['shop.Placed', 'stock.v1.Placed']);
    assert.deepEqual(known.named('laced'), []);
  });
});

describe('several sets', () => {
  test('the same file name for different types: both are known', () => {
    const known = types(
      descriptorSet(file('events.proto', 'shop', message('Placed', 'a'))),
      descriptorSet(file('events.proto', 'stock', message('Taken', 'b')), {
        ...file('more.proto', 'stock', message('Given', 'taken: .stock.Taken')),
        dependency: ['events.proto'],
      }),
    );
    assert.deepEqual(known.complaints, []);
    assert.deepEqual(known.names(), ['shop.Placed', 'stock.Given', 'stock.Taken']);
    const given = known.encode('stock.Given', '{"taken":{"b":"x"}}');
    assert.deepEqual(known.decode(given), { taken: { b: 'x' } });
    // What comes out is a set like any other.
    assert.equal(faultOf(known.bytes), undefined);
    assert.deepEqual(types(known.bytes).decode(given), { taken: { b: 'x' } });
  });

  test('the same type in two versions: the first counts, the others of the file stay known, and it is told', () => {
    const known = types(
      descriptorSet(file('shop.proto', 'shop', message('Placed', 'a', 'b'), message('New'))),
      descriptorSet(file('shop.proto', 'shop', message('Placed', 'a'), message('Old', 'placed: .shop.Placed'))),
    );
    assert.deepEqual(known.complaints, ['set 1 defines shop.Placed otherwise than set 0, whose definition is used']);
    assert.deepEqual(known.names(), ['shop.New', 'shop.Old', 'shop.Placed']);
    assert.deepEqual(known.decode(known.encode('shop.Old', '{"placed":{"b":"x"}}')), { placed: { b: 'x' } });
  });

  test('the same again, also under another file name, is nothing to complain about', () => {
    const known = types(
      placed,
      placed,
      descriptorSet(file('v1/shop.proto', 'shop', message('Placed', 'order_no', 'customer'))),
    );
    assert.deepEqual(known.complaints, []);
    assert.deepEqual(types(known.bytes).names(), ['shop.Placed']);
  });

  test('one that does not fit the others is left out', () => {
    const nested = { ...message('Placed'), nestedType: [message('Line', 'sku')] };
    const known = types(
      placed,
      descriptorSet(file('shop.proto', 'shop', nested, message('Old', 'line: .shop.Placed.Line'))),
      descriptorSet(file('stock.proto', 'stock', message('Taken'))),
    );
    assert.deepEqual(known.names(), ['shop.Placed', 'stock.Taken']);
    assert.match(known.complaints.join('\n'), /set 1 do not fit those of others/);
  });

  test('one that makes no sense hides no other', () => {
    const broken = descriptorSet(file('broken.proto', 'x', message('A', 'b: .x.Missing')));
    const circle = descriptorSet(
      { ...file('a.proto', 'x'), dependency: ['b.proto'] },
      { ...file('b.proto', 'x'), dependency: ['a.proto'] },
    );
    const known = types(broken, Uint8Array.of(1, 2, 3), circle, placed);
    assert.deepEqual(known.names(), ['shop.Placed']);
    assert.equal(known.complaints.length, 3);
    for (const complaint of known.complaints) assert.match(complaint, /^the descriptors of set \d cannot be used: ./);
  });

  test('what components tell is bounded: the oldest is forgotten, the configured stay', () => {
    const sets = new DescriptorSets([{ source: 'a file', bytes: placed }]);
    for (let i = 0; i < 200; i++) sets.tell(`c${i}`, descriptorSet(file(`f${i}.proto`, 'p', message(`M${i}`))));
    const kept = sets.byWeight.map(({ source }) => source);
    assert.equal(kept.length, 65);
    assert.deepEqual(kept.slice(0, 2), ['a file', 'c199']);
    const { changes } = sets;
    sets.tell('again', descriptorSet(file('f199.proto', 'p', message('M199'))));
    assert.equal(sets.changes, changes);
  });
});

test('what is wrong with a set is told', () => {
  assert.equal(faultOf(placed), undefined);
  assert.match(faultOf(new TextEncoder().encode('message Placed {}'))!, /^expected a serialized .*FileDescriptorSet/);
  assert.match(faultOf(new Uint8Array())!, /without files/);
  const importing = descriptorSet({ ...file('a.proto', 'a'), dependency: ['money.proto'] });
  assert.match(faultOf(importing)!, /^a\.proto imports money\.proto, which is not in the set: .*--include_imports/);
});
