// The read model of the stock: one row for each article. Who waits for an order sees here what was reserved for it.

import { type Any, foldProjector, pack, typeName, unpack } from '@daybook/client';
import { StockLevel, StockReceived, StockReleased, StockReserved } from './gen/shop/v1/shop.ts';

export function evolve(row: StockLevel, event: Any): StockLevel {
  switch (typeName(event)) {
    case StockReceived.$type: {
      const { sku, quantity } = unpack(StockReceived, event);
      return { ...row, sku, onHand: row.onHand + quantity };
    }
    case StockReserved.$type:
      return { ...row, reserved: row.reserved + unpack(StockReserved, event).quantity };
    case StockReleased.$type:
      return { ...row, reserved: row.reserved - unpack(StockReleased, event).quantity };
    default:
      return row;
  }
}

export const stockLevels = foldProjector<StockLevel>({
  name: 'stock-levels',
  domains: ['inventory'],
  initial: () => ({ sku: '', onHand: 0, reserved: 0 }),
  evolve,
  encode: (row) => pack(StockLevel, row),
  decode: (row) => unpack(StockLevel, row),
});
